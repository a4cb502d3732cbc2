package storage

import "time"

// EntryKind tells what a ledger entry did.
type EntryKind uint8

// The kinds of ledger entries. Their numbers are stored: never reuse one.
const (
	EntryGrant     EntryKind = 1 // credits issued to (or taken back from) the account
	EntryHold      EntryKind = 2 // credits set aside for a request; moves nothing
	EntrySettle    EntryKind = 3 // ends a hold and charges for it; a charge of 0 is a void
	EntryExpire    EntryKind = 4 // ends a hold nobody settled in time; charges nothing
	EntryInterrupt EntryKind = 5 // ends a hold that a former run of the gateway left open; charges nothing
	EntryLate      EntryKind = 6 // charges for a request whose hold had expired or was interrupted, once
	EntryExtend    EntryKind = 7 // more credits set aside under a hold that is open; moves nothing
	EntryTransfer  EntryKind = 8 // credits that came from (or, negative, went to) another account, whose line is next to it
)

// String is the kind's name, as listings print it.
func (k EntryKind) String() string {
	names := [...]string{"unknown", "grant", "hold", "settle", "expire", "interrupt", "late", "extend", "transfer"}
	if int(k) >= len(names) {
		k = 0
	}
	return names[k]
}

// Entry is one immutable line of the ledger. Lines are numbered without gaps twice: Position over the whole ledger and
// Seq on the account. Hash is SHA-256 over this line, the hash of the line before it in the ledger and the hash of the
// line before it on the account, so that both orders are proven by one chain.
//
// Double entry: a line moves credits between the account and three system accounts whose standing is kept next to the
// ledger's head. A grant moves Amount from "issued" to the account, a transfer from the other account. A charge moves Charged from the account, and Loss from
// "loss", to "revenue". The sum over all accounts and the three is 0 after every line.
type Entry struct {
	Position  uint64    // from 1
	Account   string    //
	Seq       uint64    // from 1
	Previous  uint64    // Position of the account's line before this one; 0 on the first
	Time      time.Time // for display only; order is Position
	Kind      EntryKind
	Request   RequestID // zero on grants and transfers
	Reference string    // of a grant or a transfer
	Reason    string    // a grant's kind, a settlement's reason, or a transfer's other account
	Key, Team string    // who spends, beside the account; on holds and their ends
	Tier      uint8     // of the model that answered, where Charged > 0
	Amount    Credits   // granted or transferred (signed), held, added to a hold, or released by its end; 0 on late lines
	Charged   Credits   // taken from the account, >= 0
	Loss      Credits   // owed but not covered, >= 0
	Expires   time.Time // of a hold
	Posted    Credits   // the account's posted balance after this line
	Held      Credits   // the account's held credits after this line
	Open      uint64    // the account's open holds after this line
	Overdraft Credits   // how far below zero the account could go, >= 0
	Hash      [32]byte
}

// Ends tells whether the entry ended a hold.
func (e *Entry) Ends() bool {
	return e.Kind == EntrySettle || e.Kind == EntryExpire || e.Kind == EntryInterrupt
}

// LogRecord is what the log keeps of one accepted request: its usage and, when replay is on, its encoded decision.
type LogRecord struct {
	Usage    Usage
	Decision []byte // nil when not recorded; opaque to the store, which copies it
	Settled  *Batch // what the record must not tell of before it is on disk; nil: there is none
}
