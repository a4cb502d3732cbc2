// Package records is decisions on their way out of a gateway's log: in the order in which they can be decided again, with the
// snapshots they are about, and as a file that holds all that this takes.
//
// # Order
//
// Requests are logged when they end and refer to the generation of the snapshot at their beginning. A [Source] gives them in
// chunks of up to 16,384 requests, each in the order of generations, as batches of one generation: a policy is told of a snapshot
// once a batch, and no more than two snapshots are held at a time.
//
// # The file
//
// The eight bytes "PMREC 1\n", then an S2 stream (the framing format of Snappy with larger blocks, a CRC-32C in each) of frames: one byte
// for the kind, a uvarint length, and so many bytes:
//
//	H  JSON: {"created","gateway","since","until","budgets"}; first, once
//	M  a policy's module: its bytes. What names it is their SHA-256
//	C  a policy's configuration text, named by its SHA-256
//	S  a state of a learning policy: its name behind a uvarint length, uvarint number, bytes
//	G  a snapshot: uvarint generation and record.AppendGeneration, a difference to the G before it or a key frame. It holds for
//	   what follows up to the next G
//	R  a request: its id (16 bytes), its usage (badgerdb.AppendUsage) behind a uvarint length, its decision (record.AppendDecision)
//	E  JSON: {"requests","generations"}; last, once: a file without it is cut off
//
// What a decision refers to stands before it. Readers pass over kinds they do not know. There is no text of a prompt in it unless the
// gateway was told to keep those in decision records.
package records

import (
	"errors"
	"io"
	"time"

	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

// Errors of this package; decide with errors.Is.
var (
	// ErrFormat: the bytes are no records file, or a damaged one.
	ErrFormat = errors.New("not a records file, or damaged")
	// ErrCut: the file ends before its end.
	ErrCut = errors.New("the records file is cut off")
	// ErrUnknown: a module, a configuration or a state that a decision refers to is not there.
	ErrUnknown = errors.New("not kept")
)

// Record is one request.
type Record struct {
	Usage    storage.Usage
	Decision []byte // record.AppendDecision
}

// Batch is requests that were decided on one snapshot. It is valid until the next one is asked for.
type Batch struct {
	Snapshot *policy.Published // valid for good
	Records  []Record
}

// Source gives decisions and what they rest on. It is for one goroutine but for Module, Config and State.
type Source interface {
	// Next returns the next batch. Errors: io.EOF at the end, ErrFormat, ErrCut, those of the store.
	Next() (*Batch, error)
	// Module returns a module by its hexadecimal SHA-256. Errors: ErrUnknown.
	Module(digest string) ([]byte, error)
	// Config returns a configuration text by its hexadecimal SHA-256. Errors: ErrUnknown.
	Config(digest string) (string, error)
	// State returns a state of a learning policy. Errors: ErrUnknown.
	State(policy string, number uint64) ([]byte, error)
	// Passed tells what was not given, so far.
	Passed() Passed
}

// Passed is requests that a source could not give.
type Passed struct {
	NoDecision  int `json:"no_decision"`  // answered from the cache, or refused before a policy was asked
	NoSnapshot  int `json:"no_snapshot"`  // the snapshot they are about is not kept any more
	Damaged     int `json:"damaged"`      // records that do not decode
	DamagedPage int `json:"damaged_page"` // pages of the log, each of up to 512 requests
}

// Head is what a file says of itself.
type Head struct {
	Created time.Time `json:"created"`
	Gateway string    `json:"gateway"` // version
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`
	Budgets []Budget  `json:"budgets,omitempty"` // that held when it was written
}

// Tail is what a file holds.
type Tail struct {
	Requests    int `json:"requests"`
	Generations int `json:"generations"`
}

// Copy writes all that src gives to w, which the caller closes. each is told of every batch, nil for nobody.
func Copy(w *Writer, src Source, each func(*Batch)) error {
	for {
		b, err := src.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = w.Add(b, src)
		}
		if err != nil {
			return err
		}
		if each != nil {
			each(b)
		}
	}
}
