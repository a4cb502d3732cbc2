package storage

import "errors"

// Errors of the stores. Callers decide with errors.Is, never by text.
var (
	// ErrNotFound: the record does not exist.
	ErrNotFound = errors.New("not found")
	// ErrExists: a record with that id exists already.
	ErrExists = errors.New("already exists")
	// ErrInsufficientCredits: the hold is larger than what the account has available.
	ErrInsufficientCredits = errors.New("insufficient credits")
	// ErrBudget: a budget has no room for the hold; the error is a *BudgetError.
	ErrBudget = errors.New("budget used up")
	// ErrConflict: the same idempotency reference was used before with other content.
	ErrConflict = errors.New("reference already used with other content")
	// ErrHalted: the ledger stopped taking work because a commit failed or its proof did not hold; only a restart that
	// verifies clears it.
	ErrHalted = errors.New("ledger halted")
	// ErrInvalid: the record breaks a documented bound (an id's form, an amount's range, a text's length).
	ErrInvalid = errors.New("invalid record")
	// ErrLowSpace: the disk is below its low-water mark; holds are refused until space is made, settlements go on.
	ErrLowSpace = errors.New("disk space is below the low-water mark")
	// ErrTooManyGroups: a summary would have more than MostSummaryGroups groups.
	ErrTooManyGroups = errors.New("too many groups")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store closed")
)
