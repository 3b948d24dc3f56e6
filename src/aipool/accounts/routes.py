"""Accounts over HTTP: coming in, and what people do with their own account.

The session's cookie is set wherever its secret changes: at a login, a step-up and another
password. Whether it is `Secure`, and then has a name that browsers guard, depends on how the
browser reached the worker in front, which says so in X-Forwarded-Proto.
"""

from __future__ import annotations

from fastapi import APIRouter, BackgroundTasks
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.requests import Request

from aipool.accounts import codes, devices, rules, service, sessions, totp
from aipool.accounts.callers import Asking, Caller
from aipool.accounts.entry import Entry, Key, Wish, check_agreed
from aipool.accounts.oneself import Oneself, refuse_programs, refuse_unready
from aipool.accounts.premises import Premises
from aipool.accounts.proof import BITS_LEAST
from aipool.accounts.schemas import (
    AccessTokenMade,
    AccessTokenSent,
    AccessTokensShown,
    ChallengeShown,
    CodeAsked,
    CodeSent,
    CodeWanted,
    EmailSent,
    LoginSent,
    MeChange,
    MeShown,
    PasswordChanged,
    PasswordSent,
    PhoneSent,
    RecoveryCodes,
    RegisteredShown,
    RegisterSent,
    ResetSent,
    SessionsShown,
    SteppedUp,
    StepUpSent,
    TotpBegun,
    access_token_shown,
    amount_sent,
    challenge_shown,
    moment_sent,
    session_shown,
)
from aipool.accounts.throttle import network_of
from aipool.audit.desk import Acting, Desk, Id
from aipool.kit.clock import iso_ms
from aipool.site.types import PRIVACY_VERSION, TERMS_VERSION


def routes(desk: Desk, on: Premises, sender: codes.CodeSender) -> APIRouter:
    """Everything under /api/auth and /api/me. sender: who carries codes."""
    router = APIRouter(prefix="/api")
    oneself = Oneself(on)
    _coming_in(router, desk, on, oneself, sender)
    _oneself(router, desk, on, oneself)
    _sessions(router, desk, on)
    _second_factor(router, desk, on, oneself)
    _access_tokens(router, desk, oneself)
    return router


# --- coming in --------------------------------------------------------------------------------


def _coming_in(
    router: APIRouter, desk: Desk, on: Premises, oneself: Oneself, sender: codes.CodeSender
) -> None:
    entry = Entry(on)

    @router.post("/auth/challenge")
    def create_challenge(act: Acting) -> ChallengeShown:
        """Work to show before a code is sent, or where a refusal asks for it."""
        made = entry.proofs.challenge(network_of(act.ip), BITS_LEAST, act.at_ms)
        return challenge_shown(made)

    @router.post("/auth/register", status_code=201, response_model=RegisteredShown)
    def register_user(sent: RegisterSent, request: Request, act: Acting) -> Response:
        """Makes an account and logs it in, unless an administrator must approve it first."""
        fields = sent.model_dump(exclude={"proof", "password"})
        password = sent.password.get_secret_value()
        made = entry.register(
            act, Wish(password=password, **fields), sent.proof.proof() if sent.proof else None
        )
        me = None
        if made.session is not None:
            me = oneself.me(Caller(made.user, made.session.id, stepped_up=True), act.at_ms)
        shown = RegisteredShown(
            id=made.user.id,
            status=made.user.status,
            password_strength=rules.strength(password),
            me=me,
        )
        answer = desk.done(made.tx, _json(shown), 201)
        _let_in(request, answer, made.secret, made.device)
        return answer

    @router.post("/auth/login", response_model=MeShown)
    def log_in(sent: LoginSent, request: Request, act: Acting) -> Response:
        """Begins a session. A wrong number and a wrong password are refused alike."""
        key = Key(
            sent.login,
            sent.password.get_secret_value(),
            sent.code,
            _cookie(request, devices.cookie_name(secure=_is_secure(request))),
            request.state.caller,
        )
        made = entry.log_in(act, key, sent.proof.proof() if sent.proof else None)
        session_id = made.session.id if made.session else 0
        me = oneself.me(Caller(made.user, session_id, stepped_up=True), act.at_ms)
        answer = desk.done(made.tx, _json(me))
        _let_in(request, answer, made.secret, made.device)
        return answer

    @router.post("/auth/logout", status_code=204)
    def log_out(request: Request, act: Acting) -> Response:
        """Ends the session, if there is one."""
        caller: Caller | None = request.state.caller
        tx = None
        if caller is not None and caller.session_id:
            with desk.database.write() as tx:
                # Not if it ended just now: whoever logs out twice is out.
                if sessions.stands(tx.connection, caller, act.at_ms):
                    sessions.end_session(
                        tx, act, caller.user, caller.session_id, on.hooks.sessions_end
                    )
        answer = desk.done(tx)
        for secure in (True, False):
            answer.delete_cookie(
                sessions.cookie_name(secure=secure), secure=secure, httponly=True, samesite="lax"
            )
        return answer

    @router.post("/auth/codes", status_code=202)
    def ask_code(
        sent: CodeWanted, request: Request, act: Acting, after: BackgroundTasks
    ) -> CodeAsked:
        """Sends a code. Answered alike, and as fast, whether there is an account or not."""
        asked = entry.ask_code(
            act,
            purpose=sent.meant(),
            phone=sent.phone,
            email=sent.email,
            locale=sent.locale,
            caller=request.state.caller,
            proof=sent.proof.proof() if sent.proof else None,
        )
        if asked.is_sent:
            after.add_task(sender.send_code, asked.to, asked.purpose, asked.code, asked.locale)
        return CodeAsked(
            handle=asked.handle,
            expires_in_seconds=codes.LIFE_MS // 1000,
            resend_after_seconds=codes.ADDRESS_LIMITS[0][1] // 1000,
        )

    @router.post("/auth/reset", status_code=204)
    def reset_password(sent: ResetSent, act: Acting) -> Response:
        """Another password, by a code or by a link. Every session and every access token of the
        account ends."""
        password = sent.password.get_secret_value()
        if sent.link:
            tx = entry.reset_by_link(act, secret=sent.link, password=password, login=sent.login)
        else:
            tx = entry.reset_by_code(
                act,
                login=sent.login,
                code=sent.code,
                handle=sent.code_handle,
                password=password,
            )
        return desk.done(tx)


# --- oneself ----------------------------------------------------------------------------------


def _oneself(router: APIRouter, desk: Desk, on: Premises, oneself: Oneself) -> None:
    @router.get("/me")
    def show_me(caller: Asking, act: Acting) -> MeShown:
        """Who asks."""
        return oneself.me(caller, act.at_ms)

    @router.patch("/me", response_model=MeShown)
    def change_me(sent: MeChange, caller: Asking, act: Acting) -> MeShown:
        """Changes name, language and warnings, and agrees to terms."""
        given = sent.given()
        fields = {name: given[name] for name in ("locale",) if name in given}
        if "name" in given:
            fields["name"] = rules.display_name(sent.name)
        if "low_balance" in given:
            fields["low_balance_nano"] = amount_sent(sent.low_balance, "low_balance")
        with desk.database.write() as tx:
            user = service.user_by_id(tx.connection, caller.user.id)
            if "terms_version" in given or "privacy_version" in given:
                values = on.site.values(tx.connection)
                agreed = {
                    "terms_version": given.get("terms_version", user.terms_version),
                    "privacy_version": given.get("privacy_version", user.privacy_version),
                }
                check_agreed(values, **agreed)
                # To what is in force: nobody agrees beforehand to what they have not seen.
                service.agree(
                    tx,
                    act,
                    user,
                    terms_version=values[TERMS_VERSION] or user.terms_version,
                    privacy_version=values[PRIVACY_VERSION] or user.privacy_version,
                )
            service.set_profile(tx, act, user, **fields)
        return oneself.me(caller, act.at_ms)

    @router.post("/me/password", response_model=PasswordChanged)
    def change_password(
        sent: PasswordSent, caller: Asking, request: Request, act: Acting
    ) -> Response:
        """Another password. Every other session ends, and every sensitive access token. Whoever
        has a second factor must have shown it a short while ago (`step_up_needed`)."""
        password = sent.password.get_secret_value()
        current = sent.current_password.get_secret_value()
        tx, secret = oneself.change_password(act, caller, current=current, password=password)
        strength = rules.strength(password)
        answer = desk.done(tx, _json(PasswordChanged(password_strength=strength)))
        _let_in(request, answer, secret)
        return answer

    @router.post("/me/step-up")
    def step_up(
        sent: StepUpSent, caller: Asking, request: Request, act: Acting, answer: Response
    ) -> SteppedUp:
        """Shows again who asks, so that sensitive things may be done for a while."""
        until_ms, secret = oneself.step_up(
            act, caller, password=sent.password.get_secret_value(), code=sent.code
        )
        _let_in(request, answer, secret)
        return SteppedUp(step_up_until=iso_ms(until_ms))

    @router.put("/me/phone")
    def set_phone(sent: PhoneSent, caller: Asking, act: Acting) -> MeShown:
        """Another number; with a code, one that is proved."""
        oneself.set_phone(act, caller, sent.phone, sent.code, sent.code_handle)
        return oneself.me(caller, act.at_ms)

    @router.put("/me/email")
    def set_email(sent: EmailSent, caller: Asking, act: Acting) -> MeShown:
        """Another mail address; with a code, one that is proved."""
        oneself.set_email(act, caller, sent.email, sent.code, sent.code_handle)
        return oneself.me(caller, act.at_ms)


def _sessions(router: APIRouter, desk: Desk, on: Premises) -> None:
    @router.get("/me/sessions")
    def list_sessions(caller: Asking, act: Acting) -> SessionsShown:
        """Where the person is logged in."""
        with desk.database.read() as connection:
            found = sessions.live_sessions(connection, caller.user, act.at_ms)
        return SessionsShown(items=[session_shown(each, caller.session_id) for each in found])

    @router.delete("/me/sessions/{session_id}", status_code=204)
    def end_session(session_id: Id, caller: Asking, act: Acting) -> Response:
        """Logs out there."""
        with desk.database.write() as tx:
            sessions.end_session(tx, act, caller.user, session_id, on.hooks.sessions_end)
        return desk.done(tx)

    @router.delete("/me/sessions", status_code=204)
    def end_other_sessions(caller: Asking, act: Acting) -> Response:
        """Logs out everywhere but here; every access token ends as well."""
        with desk.database.write() as tx:
            sessions.end_others(tx, act, caller, on.hooks.sessions_end)
        return desk.done(tx)


# --- the second factor ------------------------------------------------------------------------


def _second_factor(router: APIRouter, desk: Desk, on: Premises, oneself: Oneself) -> None:
    @router.post("/me/totp", status_code=201)
    def begin_totp(caller: Asking, act: Acting) -> TotpBegun:
        """A secret for a device. It counts once it is confirmed."""
        refuse_programs(caller)
        secret, uri = oneself.begin_totp(act, caller)
        return TotpBegun(secret=secret, uri=uri)

    @router.post("/me/totp/confirm", response_model=RecoveryCodes)
    def confirm_totp(sent: CodeSent, caller: Asking, act: Acting) -> Response:
        """The device has the secret. Gives the recovery codes, this once."""
        refuse_programs(caller)
        tx, made = oneself.confirm_totp(act, caller, sent.code)
        return desk.done(tx, _json(RecoveryCodes(recovery_codes=made)))

    @router.delete("/me/totp", status_code=204)
    def delete_totp(caller: Asking, act: Acting) -> Response:
        """No second factor from now on."""
        refuse_programs(caller)
        with desk.database.write() as tx:
            user = service.user_by_id(tx.connection, caller.user.id)
            totp.switch_off(
                tx, act, user, but_session=caller.session_id, ended=on.hooks.sessions_end
            )
        return desk.done(tx)

    @router.post("/me/totp/recovery-codes")
    def renew_recovery_codes(caller: Asking, act: Acting) -> RecoveryCodes:
        """New recovery codes; those before are worthless."""
        refuse_programs(caller)
        return RecoveryCodes(recovery_codes=oneself.renew_recovery_codes(act, caller))


# --- access tokens ----------------------------------------------------------------------------


def _access_tokens(router: APIRouter, desk: Desk, oneself: Oneself) -> None:
    @router.get("/me/access-tokens")
    def list_access_tokens(caller: Asking) -> AccessTokensShown:
        """Of the person's programs."""
        with desk.database.read() as connection:
            found = sessions.access_tokens(connection, caller.user)
        return AccessTokensShown(items=[access_token_shown(token) for token in found])

    @router.post("/me/access-tokens", status_code=201)
    def create_access_token(sent: AccessTokenSent, caller: Asking, act: Acting) -> AccessTokenMade:
        """An access token; its secret is shown this once."""
        refuse_programs(caller)
        refuse_unready(caller)
        token, secret = oneself.create_access_token(
            act,
            caller,
            name=sent.name,
            read_only=sent.read_only,
            is_sensitive=sent.sensitive,
            expires_at_ms=moment_sent(sent.expires_at, act.at_ms),
        )
        return AccessTokenMade(secret=secret, **access_token_shown(token).model_dump())

    @router.delete("/me/access-tokens/{access_token_id}", status_code=204)
    def delete_access_token(access_token_id: Id, caller: Asking, act: Acting) -> Response:
        """It opens nothing any more."""
        with desk.database.write() as tx:
            sessions.delete_access_token(tx, act, caller.user, access_token_id)
        return desk.done(tx)


# --- inside -----------------------------------------------------------------------------------


def _let_in(request: Request, answer: Response, secret: str, device: str = "") -> None:
    """Sets the cookies. secret: of the session, "" = there is none."""
    secure = _is_secure(request)
    if secret:
        answer.set_cookie(
            sessions.cookie_name(secure=secure),
            secret,
            max_age=sessions.LIFE_MS // 1000,
            secure=secure,
            httponly=True,
            samesite="lax",
        )
    if device:
        answer.set_cookie(
            devices.cookie_name(secure=secure),
            device,
            max_age=devices.LIFE_SECONDS,
            secure=secure,
            httponly=True,
            samesite="lax",
        )


def _is_secure(request: Request) -> bool:
    return request.headers.get("x-forwarded-proto") == "https"


def _cookie(request: Request, name: str) -> str:
    return request.cookies.get(name, "")


def _json(shown: BaseModel) -> dict[str, object]:
    return shown.model_dump(mode="json")
