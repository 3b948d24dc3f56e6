"""HTTP/1.1 by hand: a server, a client, and the splitter for event streams.

The layer knows bytes, sockets and deadlines, and no noun of the product. It sits on
`asyncio.Protocol`, the `httptools` parser and `uvloop`; it starts no task and no timer for a
request that finds a kept-alive connection.

    limits       the one table of limits
    server       listening sockets, drain          connection  bytes to exchanges
    flow         a client's socket, its brakes     turns       one request in hand at a time
    ordinary     whole requests in one read        repeat      heads seen before
    exchange     one request and its answer        strict      what a request head must be
    bodies       request bodies collected          chunks      chunked bodies of requests
    budget       bytes in flight, bounded          statuses    status lines
    client       requests to upstreams             upstream    one upstream connection
    request      a request and how it can end      answer      answers that take several reads
    pool         idle upstream connections         connect     addresses, race, proxy, TLS
    resolver     names to addresses                transports  the fastest transport of each kind
    deadlines    the one sweep                     sse         event streams cut into events
"""
