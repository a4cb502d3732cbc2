package storage

// ResultID finds what became of a request with an idempotency key: a digest of the account and the key.
type ResultID [32]byte

// Result is what became of a request with an idempotency key.
type Result struct {
	Request     RequestID // that the key was first used for
	Fingerprint [32]byte  // digest of what was asked
	State       ResultState
	Status      int
	Header      []byte // lines "Name: value\n" of the answer
	Body        []byte
}

// ResultState is how far it is. The numbers are stored.
type ResultState uint8

// The states.
const (
	ResultBegun ResultState = iota // it is being answered, or the gateway died meanwhile
	ResultWhole                    // answered, and the answer is here
	ResultCut                      // so too, but the answer broke off: what came of it is here
	ResultGone                     // answered, and the answer is not kept: it was too large, or displaced
)
