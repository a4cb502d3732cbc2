// Package storage holds the records Pointsman keeps and the sentinel errors of the stores that keep them. It imports
// the standard library only, so that every layer may speak in these types without pulling in a database.
//
// Units: money of users is [Credits] (integer micro-credits), money of providers is [NanoUSD] (integer nano-dollars);
// neither is ever a float. Times are UTC wall time for display only; order comes from [RequestID] and ledger sequence
// numbers.
package storage
