// Package abi is the contract between the gateway and a routing policy, version 1: the names a WebAssembly module
// exports and imports, and the byte layout of what passes between them, as documented constants.
//
// # The idea
//
// A policy is a pure function from facts to a plan. The host writes facts into a buffer the guest owns, calls an export
// with the number of bytes written, and reads the answer from the guest's memory. There is no clock, no randomness and
// no I/O: the same snapshot and the same request give the same plan, bit for bit.
//
// # Life of an instance
//
//	_initialize()                          if exported (reactors: Go, wasi-libc), once
//	pointsman_abi_version() -> 1           once
//	pointsman_needs() -> grants            once, if exported: what it needs beyond the plain facts, Grant* bits
//	pointsman_buffer(size) -> address      once, and again only when a larger input comes; the guest owns the memory
//	pointsman_configure(len) -> status     once: the policy's parameters
//	pointsman_snapshot(len) -> status      whenever the snapshot is another one than at the instance's last call
//	pointsman_state(len) -> status         whenever the policy's state changed since the instance's last call, if exported
//	pointsman_route(len) -> plan           once a request
//	pointsman_next(len) -> plan            once for each further round of a request, if exported
//	pointsman_observe(len) -> state        now and then, off the way of any request, if exported
//
// Status 0 is success; anything else, a trap, exhausted fuel, or an invalid plan makes the host discard the instance,
// count a failure and use its documented fallback order. The plan stays valid until the next call into the instance.
//
// A snapshot has all candidates of the catalog, or those on a shortlist of a large one. So snapshots of one generation can differ, and
// an instance that is given one forgets the one before. Numbers of candidates count the snapshot's; Key stays the same everywhere.
//
// # Grants
//
// Every policy gets the plain facts of a request: sizes, flags, the options. What says more about people or can spend is
// delivered only if the operator granted it, and the module is refused at load if it needs more than that. Data that is
// needed but not granted, or granted but not needed, is never in the guest's memory.
//
//	features    plain facts; always there
//	text        RequestTextOff: the last user message
//	metadata    RequestMetadataOff: account, key, user and the request's own metadata
//	side_calls  plans of KindAsk, and with them the text of the answers
//	state       pointsman_state and pointsman_observe
//
// # Rounds
//
// A plan of KindAnswer without PlanReview ends the policy's part. Otherwise the host carries the plan out, keeps an answer
// back, and calls pointsman_next with all outcomes of the request so far; each plan that is carried out is a round. The
// function is as pure as pointsman_route: no instance remembers the rounds before, the buffer tells them all. The held
// answer is that of the last KindAnswer outcome with OutcomeOK; KindAccept sends it. After MaxRounds rounds only KindAccept
// and KindReject are left. When pointsman_next fails, the host sends the held answer, or else goes on in its own order.
// All rounds are paid by the request.
//
// # State
//
// A learning policy keeps a state: bytes of its own, at most MaxState, empty at first. pointsman_observe is given
// what became of attempts it planned, since the last time, in the order they ended, and returns address<<32 | length of the
// new state, which the host numbers, keeps, and hands to every instance by pointsman_state before the next decision. The
// number stands in RequestState, so that a decision can be repeated with the state it was made on. State outlives restarts
// and new versions of the module; if pointsman_state does not return 0, the host drops the state and starts from none.
//
// # Configuration text
//
// pointsman_configure gets UTF-8 text, one "key=value\n" line per parameter, sorted by key, nested tables joined with
// dots, list elements joined with commas: "band=0,1\nmin_quality=0.6\nproviders=local,groq,huggingface\n".
//
// Numbers are plain decimals ("0.5", "12", "-3"), booleans "true" or "false"; the libraries also take 1 and 0. A policy
// without parameters is configured with 0 bytes, and then pointsman_buffer may not have been called yet.
//
// # Records and strides
//
// All numbers are little-endian; f32 is IEEE 754 binary32. Every buffer starts with a header that carries its version, its
// own size, and for each array of records the count and the stride (bytes from one record to the next). Fields are only
// ever appended: a guest steps by the stride it is told and never by the one it was built with, so old guests keep
// working when records grow.
//
// # Worked examples
//
// Each line is 16 bytes; what stands behind it names the fields. A test holds these bytes and the code together.
//
// Snapshot of one candidate, generation 5:
//
//	01 00 40 00  01 00 68 00  05 00 00 00  00 00 00 00   version 1, header 64, 1 candidate of 104 bytes, generation 5
//	00 68 e5 cf  8b 01 00 00  a8 00 00 00  09 00 00 00   taken at 1700000000000 ms, names at 168, 9 bytes of them
//	00 00 00 00  00 00 00 00  00 00 00 00  00 00 00 00   reserved
//	00 00 00 00  00 00 00 00  00 00 00 00  00 00 00 00   reserved
//	08 07 06 05  04 03 02 01  00 00 02 00  01 01 00 00   key, model 0, provider 2, tier 1, healthy, chat
//	05 00 00 00  02 00 00 00  00 00 02 00  00 20 00 00   tools and schemas, strong at code, window 131072, output 8192
//	d0 07 00 00  00 00 00 00  50 c3 00 00  00 00 00 00   2,000 micro-credits per 1,000 tokens, input at 50,000 pico-USD
//	80 38 01 00  00 00 00 00  00 00 00 00  00 00 00 00   output at 80,000 pico-USD, no price of its own from cache
//	00 00 40 3f  00 00 7a 43  00 00 c8 43  00 00 80 3d   quality 0.75, TTFT 250 ms, 400 tokens a second, errors 0.0625
//	0c 00 00 00  00 00 00 00  00 00 00 00  05 00 04 00   12 samples, no flags, model's name at 0, 5 bytes, provider's 4
//	05 00 00 00  00 00 00 00  73 6d 61 6c  6c 67 72 6f   provider's name at 5; "small" "gro
//	71                                                   q"
//
// Request about it, with the text granted:
//
//	01 00 60 00  01 00 04 00  05 00 00 00  00 00 00 00   version 1, header 96, 1 option of 4 bytes, generation 5
//	09 00 00 00  00 00 00 00  02 01 00 00  02 01 ff ff   seed 9, balanced, code, any privacy and latency, tier 2, stream, no model
//	01 00 00 00  40 01 00 00  00 00 00 00  03 00 00 00   needs tools, 320 input tokens, no output limit, 3 messages
//	c0 87 8b 3b  00 00 00 00  00 00 00 00  00 00 00 00   999 credits, no session
//	64 00 00 00  0b 00 00 00  00 00 00 00  00 00 00 00   text at 100, 11 bytes; no metadata
//	00 00 00 00  00 00 00 00  00 00 00 00  00 00 00 00   no state
//	00 00 02 00  53 6f 72 74  20 61 20 6c  69 73 74      not excluded, no flags, 2 in flight; "Sort a list"
//
// Plan, the shortest: candidate 0, tried once.
//
//	01 00 20 00  01 00 80 00  01 00 18 00  00 00 08 00   version 1, header 32, answer, reason 128, 1 step of 24, 0 verdicts of 8
//	00 00 00 00  00 00 00 00  00 00 00 00  00 00 00 00   no explanation, no output cap, no status
//	00 00 01 00  00 00 00 00  00 00 00 00  00 00 80 3f   candidate 0, 1 attempt, default timeout, no hedge, score 1.0
//	80 00 00 00  00 00 00 00                             reason 128
//
// The call returns address<<32 | 56.
//
// Plan of a side call:
//
//	01 00 40 00  02 00 86 00  01 00 18 00  00 00 08 00   version 1, header 64, ask, reason 134, 1 step of 24
//	00 00 00 00  00 00 00 00  00 00 00 00  00 00 00 00   as above
//	01 00 00 00  58 00 00 00  0f 00 00 00  01 00 08 00   tag 1, instruction at 88, 15 bytes, about the prompt, 8 tokens
//	00 00 00 00  00 00 00 00  00 00 00 00  00 00 00 00   reserved
//	00 00 01 00  00 00 00 00  00 00 00 00  00 00 80 3f   candidate 0, 1 attempt, score 1.0
//	00 00 00 00  00 00 00 00  57 65 61 6b  20 6f 72 20   no reason; "Weak or
//	73 74 72 6f  6e 67 3f                                strong?"
//
// Outcomes, as pointsman_observe would get the outcome of that side call:
//
//	01 00 20 00  01 00 40 00  00 00 00 00  00 00 00 00   version 1, header 32, 1 record of 64, no request
//	60 00 00 00  06 00 00 00  00 00 00 00  00 00 00 00   texts at 96, 6 bytes of them
//	08 07 06 05  04 03 02 01  d0 07 00 00  00 00 00 00   key, 2,000 micro-credits
//	00 00 c8 00  01 00 00 00  28 00 00 00  01 00 00 00   candidate 0, HTTP 200, tag 1, 40 tokens in, 1 out
//	00 00 7a 43  00 00 80 43  01 00 00 00  00 00 00 00   TTFT 250 ms, 256 ms in all, an answer came, its text at 0
//	06 00 00 02  00 01 02 01  00 00 00 00  00 00 00 00   6 bytes, round 0, ask, no failure, stop, balanced, code
//	53 54 52 4f  4e 47                                   "STRONG"
package abi
