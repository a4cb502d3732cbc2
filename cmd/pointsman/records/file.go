package records

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/klauspost/compress/s2"

	"github.com/pointsman/pointsman/engine/record"
	"github.com/pointsman/pointsman/policies/signing"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/badgerdb"
	"github.com/pointsman/pointsman/storage/fields"
)

const magic = "PMREC 1\n"

// maxFrame bounds a frame: a module has up to 4 MiB, a snapshot of 65,535 candidates less than 16.
const maxFrame = 32 << 20

// The kinds of frames.
const (
	frameHead     = 'H'
	frameModule   = 'M'
	frameConfig   = 'C'
	frameState    = 'S'
	frameSnapshot = 'G'
	frameRequest  = 'R'
	frameEnd      = 'E'
)

// Writer writes a records file. It is for one goroutine.
type Writer struct {
	out  *s2.Writer
	buf  []byte
	body []byte

	written  map[string]bool // modules, configurations and states
	previous *policy.Snapshot
	tail     Tail
	decision record.Decision
}

// NewWriter begins a file.
func NewWriter(w io.Writer, head Head) (*Writer, error) {
	if _, err := io.WriteString(w, magic); err != nil {
		return nil, err
	}
	out := &Writer{out: s2.NewWriter(w, s2.WriterBetterCompression(), s2.WriterConcurrency(1)), written: map[string]bool{}}
	text, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	return out, out.frame(frameHead, text)
}

func (w *Writer) frame(kind byte, body []byte) error {
	w.buf = binary.AppendUvarint(append(w.buf[:0], kind), uint64(len(body)))
	_, err := w.out.Write(w.buf)
	if err == nil {
		_, err = w.out.Write(body)
	}
	return err
}

// Add writes a batch, after what its decisions refer to as far as from has it.
func (w *Writer) Add(b *Batch, from Source) error {
	for i := range b.Records {
		if err := w.refer(b.Records[i].Decision, from); err != nil {
			return err
		}
	}
	if w.previous == nil || w.previous.Generation != b.Snapshot.Generation || !sameCandidates(w.previous, &b.Snapshot.Snapshot) {
		w.body = binary.AppendUvarint(w.body[:0], b.Snapshot.Generation)
		w.body = record.AppendGeneration(w.body, w.previous, &b.Snapshot.Snapshot, b.Snapshot.Bytes)
		if err := w.frame(frameSnapshot, w.body); err != nil {
			return err
		}
		w.previous = &b.Snapshot.Snapshot
		w.tail.Generations++
	}
	for i := range b.Records {
		r := &b.Records[i]
		usage := badgerdb.AppendUsage(nil, &r.Usage)
		w.body = append(w.body[:0], r.Usage.Request[:]...)
		w.body = append(binary.AppendUvarint(w.body, uint64(len(usage))), usage...)
		w.body = append(w.body, r.Decision...)
		if err := w.frame(frameRequest, w.body); err != nil {
			return err
		}
		w.tail.Requests++
	}
	return nil
}

// sameCandidates tells whether two snapshots of one generation are about the same part of it.
func sameCandidates(a, b *policy.Snapshot) bool {
	return slices.EqualFunc(a.Candidates, b.Candidates, func(a, b policy.Candidate) bool { return a.Key == b.Key })
}

// refer writes what a decision refers to, once.
func (w *Writer) refer(decision []byte, from Source) error {
	d := &w.decision
	if d.Decode(decision) != nil {
		return nil // who reads it counts it
	}
	once := func(name string, kind byte, get func() ([]byte, error)) error {
		if w.written[name] {
			return nil
		}
		w.written[name] = true
		body, err := get()
		if err != nil {
			if errors.Is(err, ErrUnknown) {
				err = nil
			}
			return err
		}
		return w.frame(kind, body)
	}
	err := once("m"+d.Ran.Digest, frameModule, func() ([]byte, error) { return from.Module(d.Ran.Digest) })
	if err == nil {
		err = once("c"+d.Ran.Config, frameConfig, func() ([]byte, error) {
			text, err := from.Config(d.Ran.Config)
			return []byte(text), err
		})
	}
	if number := d.Request.State; err == nil && number != 0 {
		err = once(fmt.Sprintf("s%d %s", number, d.Policy), frameState, func() ([]byte, error) {
			state, err := from.State(d.Policy, number)
			return append(binary.AppendUvarint(fields.AppendText(nil, d.Policy), number), state...), err
		})
	}
	return err
}

// Close ends the file.
func (w *Writer) Close() error {
	text, err := json.Marshal(w.tail)
	if err == nil {
		err = w.frame(frameEnd, text)
	}
	return errors.Join(err, w.out.Close())
}

// Written is what has been written so far.
func (w *Writer) Written() Tail { return w.tail }

// file is a Source that reads a file.
type file struct {
	in      *bufio.Reader
	head    Head
	kind    byte // of the frame that was read last, in body
	body    []byte
	texts   badgerdb.Texts
	modules map[string][]byte // and configurations, by digest
	states  map[string][]byte
	shown   *policy.Published // what the next requests are about, nil for none that could be read
	current policy.Snapshot
	read    Tail
	passed  Passed
	ended   bool
	room    int    // requests that the last batch had
	arena   []byte // of the decisions
}

// Open reads a file from r.
func Open(r io.Reader) (Source, Head, error) {
	begin := make([]byte, len(magic))
	if _, err := io.ReadFull(r, begin); err != nil || string(begin) != magic {
		return nil, Head{}, fmt.Errorf("%w: it does not begin with %q", ErrFormat, magic)
	}
	f := &file{in: bufio.NewReaderSize(s2.NewReader(r), 64<<10), texts: badgerdb.Texts{}, modules: map[string][]byte{}, states: map[string][]byte{}}
	if err := f.next(); err != nil {
		return nil, Head{}, err
	}
	if f.kind != frameHead || json.Unmarshal(f.body, &f.head) != nil {
		return nil, Head{}, fmt.Errorf("%w: it has no head", ErrFormat)
	}
	return f, f.head, f.next()
}

// next reads a frame.
func (f *file) next() error {
	kind, err := f.in.ReadByte()
	var n uint64
	if err == nil {
		n, err = binary.ReadUvarint(f.in)
	}
	if err == nil && n > maxFrame {
		return fmt.Errorf("%w: a frame of %d bytes", ErrFormat, n)
	}
	if err == nil {
		if uint64(cap(f.body)) < n {
			f.body = make([]byte, n, n+n/2)
		}
		f.kind, f.body = kind, f.body[:n]
		_, err = io.ReadFull(f.in, f.body)
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w, after %d requests", ErrCut, f.read.Requests)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return nil
}

// Next implements Source.
func (f *file) Next() (*Batch, error) {
	var b *Batch
	for !f.ended {
		switch f.kind {
		case frameRequest:
			if b == nil {
				b = &Batch{Snapshot: f.shown, Records: make([]Record, 0, max(1, f.room))}
			}
			if err := f.request(b); err != nil {
				return nil, err
			}
			if len(b.Records) == chunkSize {
				return b, f.next()
			}
			f.room = len(b.Records)
		case frameEnd:
			var tail Tail
			if json.Unmarshal(f.body, &tail) != nil || tail != f.read {
				return nil, fmt.Errorf("%w: it says that it has %d requests about %d snapshots, and has %d and %d",
					ErrFormat, tail.Requests, tail.Generations, f.read.Requests, f.read.Generations)
			}
			f.ended = true
			continue
		default:
			if b != nil && len(b.Records) > 0 {
				return b, nil // the frame belongs to the next batch
			}
			b = nil
			if err := f.reference(); err != nil {
				return nil, err
			}
		}
		if err := f.next(); err != nil {
			return nil, err
		}
	}
	if b != nil && len(b.Records) > 0 {
		return b, nil
	}
	return nil, io.EOF
}

// request adds the frame's request to a batch.
func (f *file) request(b *Batch) error {
	f.read.Requests++
	r := fields.Reader{Rest: f.body}
	id, usage := r.Bytes(len(storage.RequestID{})), r.Sized()
	if r.Bad() {
		return fmt.Errorf("%w: request %d", ErrFormat, f.read.Requests)
	}
	if f.shown == nil {
		f.passed.NoSnapshot++
		return nil
	}
	b.Records = append(b.Records, Record{})
	one := &b.Records[len(b.Records)-1]
	if badgerdb.DecodeUsageInto(&one.Usage, storage.RequestID(id), usage, f.texts) != nil {
		b.Records = b.Records[:len(b.Records)-1]
		f.passed.Damaged++
		return nil
	}
	one.Decision = f.copied(r.Rest)
	return nil
}

// arenaSize is how much memory is taken for decisions at a time.
const arenaSize = 64 << 10

func (f *file) copied(b []byte) []byte {
	if len(f.arena)+len(b) > cap(f.arena) {
		f.arena = make([]byte, 0, max(arenaSize, len(b)))
	}
	from := len(f.arena)
	f.arena = append(f.arena, b...)
	return f.arena[from:len(f.arena):len(f.arena)]
}

// reference takes in what requests refer to.
func (f *file) reference() error {
	switch r := (fields.Reader{Rest: f.body}); f.kind {
	case frameModule, frameConfig:
		f.modules[signing.Digest(f.body)] = append([]byte(nil), f.body...)
	case frameState:
		name, number := r.Text(), r.Uvarint()
		if r.Bad() {
			return fmt.Errorf("%w: a state", ErrFormat)
		}
		f.states[fmt.Sprintf("%d %s", number, name)] = append([]byte(nil), r.Rest...)
	case frameSnapshot:
		f.read.Generations++
		generation := r.Uvarint()
		if f.shown = nil; r.Bad() || record.ApplyGeneration(&f.current, generation, r.Rest) != nil {
			f.current = policy.Snapshot{Generation: math.MaxUint64} // up to the next key frame
			return nil
		}
		f.shown = policy.Publish(record.CloneSnapshot(&f.current))
	}
	return nil
}

// Module implements Source.
func (f *file) Module(digest string) ([]byte, error) {
	if wasm, ok := f.modules[digest]; ok {
		return wasm, nil
	}
	return nil, fmt.Errorf("module %.12s: %w", digest, ErrUnknown)
}

// Config implements Source.
func (f *file) Config(digest string) (string, error) {
	text, err := f.Module(digest)
	return string(text), err
}

// State implements Source.
func (f *file) State(name string, number uint64) ([]byte, error) {
	if data, ok := f.states[fmt.Sprintf("%d %s", number, name)]; ok {
		return data, nil
	}
	return nil, fmt.Errorf("state %d of policy %s: %w", number, name, ErrUnknown)
}

// Passed implements Source.
func (f *file) Passed() Passed { return f.passed }
