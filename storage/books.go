package storage

import "time"

// LedgerSummary is the standing of the whole ledger after its last line on disk. Posted, Issued, Revenue and Loss sum to 0.
type LedgerSummary struct {
	Position  uint64   // of the last line; 0: there is none
	Hash      [32]byte // of the last line
	Accounts  uint64
	OpenHolds uint64
	Posted    Credits // of all accounts
	Issued    Credits // system account: what grants were taken from, <= 0 in practice
	Revenue   Credits // system account: charges, paid or not
	Loss      Credits // system account: the unpaid part of charges, <= 0
}

// Verification is what proving the whole ledger, while it works, has come to.
type Verification struct {
	Running bool
	Checked uint64        // lines checked by the run under way, or by the last one
	Of      uint64        // lines it has to check
	Proven  time.Time     // when the lines were read that were last proven; zero: never since the start
	Through uint64        // position of the last of them
	Took    time.Duration // the run that proved them
	Fault   string        // what the last run found wrong; "": nothing
}
