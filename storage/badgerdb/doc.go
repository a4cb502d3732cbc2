// Package badgerdb keeps what Pointsman has on disk in embedded Badger databases: accounts, keys and the credits ledger
// in <dir>/ledger (in a journal before the database, synced at once for who waits for that and within milliseconds otherwise), usage and decision
// records in <dir>/log (asynchronous, expiring, droppable), what became of requests with idempotency keys in <dir>/results (synced, for a day; made by the first of them),
// and bodies in <dir>/bodies, if they are kept (asynchronous, expiring, droppable).
//
// # The ledger
//
// A [Store] has every operation decided in memory by a [ledger.Machine], under one short lock, and appends its lines to the open
// batch; the first who waits for a batch writes it as one record of the journal, and synchronizes it if that is what he waits for, or a goroutine does, the committer, when much is to be
// done or nobody waits (commit.go). The database has it some 50 ms later (see [applier]), and of lines only where they are in its volumes; whoever reads it waits for what was acknowledged
// before. Nothing is read from disk on the way of a request. What cannot be committed is never acknowledged as synced: the ledger halts instead.
//
// Badger may lose records silently when a file is damaged, so the ledger proves itself. Every line carries the account's
// balance after it and a hash over itself and both lines before it ([storage.Entry]); a checkpoint counts the lines and
// holds the totals; a small file beside it (<dir>/ledger.head) remembers the last acknowledged position and record of the
// journal, so that a lost tail is seen too. [Open] checks the recent lines and every account's last one, [Verify] checks all.
//
// # Keys in <dir>/ledger, schema 6 (integers big-endian, S = byte 0x00)
//
//	v                        schema version, 4 bytes
//	j                        how far this is: number of the last record of the journal that is in here(8), of the last whose pages
//	                         are on disk(8), volume(4) and offset(4) at which the next page goes
//	c                        checkpoint of the ledger's head
//	e position(8)            page: up to 100 ledger lines of one commit, from that position on; or, as a rule, where it and those behind it
//	                         are, see [volumes] and [group]
//	h account                position of the account's last line, or of an earlier one if the checkpoint says so
//	r request(16)            position of the request's last line, once its hold has ended, unless the request is in a run
//	q ids(4) position(8)     run of settled requests whose ids begin so, the last of which has its last line there, see runs.go
//	g account S reference    position of the grant or transfer with that reference
//	s spender                what a spender has spent, exact after the line that it names; older if the checkpoint says so
//	a account                storage.Account, JSON
//	k key id                 storage.VirtualKey, JSON
//	t team                   storage.Team, JSON; without an id: it was deleted
//	p account S provider     storage.ProviderKey, JSON
//
// Schema 5 is the same without groups, 4 without runs, 3 without volumes, and schema 2 without a journal; a start makes them 6.
//
// # The log
//
// A [Log] writes the requests that ended since its last write as one compressed page into its volumes, at most every 20 ms unless a page of
// 512 is full, with its place and few and small index records in the database. A request has no key of its own: it is found by the time in its
// id, among the pages that were written in the minute after it, whose ids are in the clear. Only a request that took longer,
// or whose clock went back, has an index record.
//
// The requests of an account are found by an index that is gathered in memory and written at least once a minute, see logaccounts.go.
//
// Sums over the requests of each minute, hour and day, by group, are made from the pages alone: see logsums.go and tally.go.
//
// # Keys in <dir>/log, schema 6 (period(4) = six-hour periods since 1970 by the page's seq; period 0 is never dropped)
//
//	period(0) v                            schema version, 4 bytes
//	period(0) f                            requests so far(8), and the beginnings of the minute, hour and day under way(4 each):
//	                                       the sums of what is before them are written
//	period(0) b                            seq of the last page that the index of accounts has(8)
//	period(0) k name                       mark: a small value that others keep here, such as how far events are delivered
//	period p seq(8)                        page of requests, see logpage.go, or, as a rule, where it is, see [volumes]; seq is its time in
//	                                       microseconds, made strictly increasing, over restarts too
//	period b account S seq(8)              index: places of requests of the account from the page at seq on, see logaccounts.go
//	period c hash(8) seq(8)                index: ordinals of the requests in the page at seq with a client id (FNV-1a of it), uvarints
//	period n seq(8) ordinal(2)             storage.Alert, JSON
//	period l request(16)                   index: seq of the page of a request that is not found by its time
//	period g generation(8)                 snapshot generation, an S2 block; the period is when it was logged
//	period s policy S number(8)            state of a learning policy, an S2 block
//	period(0) s policy                     the policy's newest state: number(8), then an S2 block
//	period(0) m version                    prices and tariff that usage records name by their version, an S2 block
//
//	unit r start(4) chunk(2)               sums of all dimensions; unit(4) = 0x10 for minutes, 0x11 hours, 0x12 days, and in three bytes
//	                                       the pieces of six hours, ten days, a hundred days since 1970; start is in minutes since 1970
//	unit s start(4) chunk(2)               the same of hours and days without accounts, teams and keys
//	unit t start(4) chunk(2)               the same of hours and days by accounts, teams, keys and outcomes alone
//
// Schema 5 has an index record of each page for each of its accounts, with a in place of b, like that of client ids; 4 is the same without volumes; a start makes
// them 6, and what is there stays.
//
// # Keys in <dir>/results, schema 1 (period(4) = twelve-hour periods since 1970, chunk(4) counts up)
//
//	v                                      schema version, 4 bytes
//	m period id(32)                        mark: time, request, fingerprint, state, status, and where the answer is
//	b chunk id(32) piece(2)                piece of the answer, an S2 block in all
//
// A period, or a unit of sums, is dropped as one key range, and a period's volumes with it, because Badger gives the space of expired records back only when it happens to
// rewrite their tables.
package badgerdb
