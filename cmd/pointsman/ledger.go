package main

import (
	"github.com/pointsman/pointsman/storage/badgerdb"
)

type ledgerCmd struct {
	Verify ledgerVerify `cmd:"" help:"Check every line of the ledger of a stopped gateway. Exits with 1 and one line for the first fault."`
}

type ledgerVerify struct {
	Data string `help:"Data directory of the stopped gateway." default:"${data}" env:"POINTSMAN_DATA"`
}

// Run verifies the ledger.
func (l *ledgerVerify) Run(term terminal) error { return badgerdb.Verify(l.Data, term.out) }
