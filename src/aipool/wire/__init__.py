"""HTTP/1.1 by hand: a server, a client, and the splitter for event streams.

The layer knows bytes, sockets and deadlines, and no noun of the product. It sits on
`asyncio.Protocol`, the `httptools` parser and `uvloop`; it starts no task and no timer for a
request that finds a kept-alive connection.

    limits       the one table of limits
    server       listening sockets, drain          connection  one client connection
    exchange     one request and its answer        strict      what a request head must be
    chunks       chunked bodies of requests        budget      bytes in flight, bounded
    client       requests to upstreams             upstream    one upstream connection
    pool         idle upstream connections         connect     addresses, race, proxy, TLS
    resolver     names to addresses                transports  the fastest transport of each kind
    deadlines    the one sweep                     sse         event streams cut into events
    bodies       request bodies collected          answer      answers that take several reads
    repeat       heads seen before                 request     a request and how it can end
    statuses     status lines
"""
