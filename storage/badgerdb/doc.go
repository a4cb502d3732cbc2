// Package badgerdb keeps what Pointsman must not lose in embedded Badger databases: accounts, keys and the credits ledger
// in <dir>/ledger (every commit is synced to disk), usage and decision records in <dir>/log (asynchronous, expiring,
// droppable).
//
// # The ledger
//
// A [Store] decides every operation in memory, under one short lock, and appends it to the open batch; one committer
// goroutine writes a batch as one synced transaction and then wakes its waiters. Nothing is read from disk on the way of a
// request. What cannot be committed is never acknowledged: the ledger halts instead.
//
// Badger may lose records silently when a file is damaged, so the ledger proves itself. Every line carries the account's
// balance after it and a hash over itself and both lines before it ([storage.Entry]); a checkpoint counts the lines and
// holds the totals; a small file outside of Badger (<dir>/ledger.head) remembers the last acknowledged position, so that a
// lost tail is seen too. [Open] checks the recent lines and every account's last one, [Verify] checks all.
//
// # Keys in <dir>/ledger, schema 1 (integers big-endian, S = byte 0x00)
//
//	v                        schema version, 4 bytes
//	c                        checkpoint of the ledger's head
//	e position(8)            page: up to 100 ledger lines of one commit, from that position on
//	h account                position of the account's last line, or of an earlier one if the checkpoint says so
//	r request(16)            position of the request's last line, once its hold has ended
//	g account S reference    position of the grant with that reference
//	a account                storage.Account, JSON
//	k key id                 storage.VirtualKey, JSON
//	p account S provider     storage.ProviderKey, JSON
//
// # Keys in <dir>/log, schema 1 (day(2) = days since 1970 in UTC, taken from the request id; day 0 is never dropped)
//
//	day(0) v                            schema version, 4 bytes
//	day u request(16)                   usage record
//	day d request(16)                   decision record
//	day a account S request(16)         index: requests of an account
//	day c hash(8) request(16)           index: requests by client id (FNV-1a of it)
//	day g generation(8)                 snapshot generation
//
// A day of the log is dropped as one key range, because Badger gives the space of expired records back only when it happens
// to rewrite their tables.
package badgerdb
