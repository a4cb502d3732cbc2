package sse

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// flat is an event with its views copied out.
type flat struct {
	name, data   string
	unterminated bool
}

// readAll returns the events that carry data, and all raw bytes.
func readAll(r *Reader) (events []flat, raw string, err error) {
	for {
		ev, err := r.Next()
		if err != nil {
			return events, raw, err
		}
		raw += string(ev.Raw)
		if ev.Data != nil {
			events = append(events, flat{string(ev.Name), string(ev.Data), ev.Unterminated})
		}
	}
}

// cuts is a source that returns its text in the given pieces.
type cuts []string

func (c *cuts) Read(p []byte) (int, error) {
	for len(*c) > 0 && (*c)[0] == "" {
		*c = (*c)[1:]
	}
	if len(*c) == 0 {
		return 0, io.EOF
	}
	n := copy(p, (*c)[0])
	(*c)[0] = (*c)[0][n:]
	return n, nil
}

const transcript = "\ufeff: hello\n\n" +
	"event: message_start\ndata: {\"a\":1}\n\n" +
	"data:no space\r\n\r\n" +
	"data: one\ndata: two\r\ndata:  three\n\n" +
	"data: 世界 🌍\r\r" +
	"id: 7\nretry: 10\ndata\nunknown: x\n\n" +
	"event: last\nevent: wins\ndata: x:y\n\n\n\n" +
	"event: no data\n\n" +
	"data: [DONE]\n\n" +
	"data: after\r\n\r\n"

var transcriptEvents = []flat{
	{name: "message_start", data: `{"a":1}`},
	{data: "no space"},
	{data: "one\ntwo\n three"},
	{data: "世界 🌍"},
	{data: ""},
	{name: "wins", data: "x:y"},
	{data: "[DONE]"},
	{data: "after"},
}

func checkTranscript(t *testing.T, what string, src io.Reader) {
	t.Helper()
	events, raw, err := readAll(NewReader(src, 0))
	if err != io.EOF {
		t.Fatalf("%s: error %v, want EOF", what, err)
	}
	if !slices.Equal(events, transcriptEvents) {
		t.Fatalf("%s:\n got %+v\nwant %+v", what, events, transcriptEvents)
	}
	if want := strings.TrimPrefix(transcript, "\ufeff"); raw != want {
		t.Fatalf("%s: raw\n got %q\nwant %q", what, raw, want)
	}
}

func TestP26CutAtEveryByte(t *testing.T) {
	checkTranscript(t, "whole", strings.NewReader(transcript))
	checkTranscript(t, "byte by byte", iotest.OneByteReader(strings.NewReader(transcript)))
	checkTranscript(t, "data with EOF", iotest.DataErrReader(strings.NewReader(transcript)))
	for i := range transcript {
		checkTranscript(t, fmt.Sprint("cut at ", i), &cuts{transcript[:i], transcript[i:]})
		for j := i; j < len(transcript); j++ {
			checkTranscript(t, fmt.Sprint("cuts at ", i, " and ", j), &cuts{transcript[:i], transcript[i:j], transcript[j:]})
		}
	}
}

func TestNextEndings(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []flat
	}{
		{"empty", "", nil},
		{"only a mark", "\ufeff", nil},
		{"half a mark", "\xef\xbb", nil},
		{"only newlines", "\n\r\n\r", nil},
		{"no blank line", "data: x\n", []flat{{data: "x", unterminated: true}}},
		{"no newline", "data: x", []flat{{data: "x", unterminated: true}}},
		{"bare CR at the end", "data: x\r", []flat{{data: "x", unterminated: true}}},
		{"field without colon", "data", []flat{{data: "", unterminated: true}}},
		{"only a name", "event: x\n", nil},
		{"comment at the end", ": bye", nil},
		{"blank CR at the end", "data: x\r\n\r", []flat{{data: "x"}}},
		{"mark inside is data", "data: \ufeffx\n\n", []flat{{data: "\ufeffx"}}},
		{"NUL is data", "data: a\x00b\n\n", []flat{{data: "a\x00b"}}},
		{"similar field names", "Data: x\ndatax: y\n data: z\n\n", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, src := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in))} {
				got, raw, err := readAll(NewReader(src, 0))
				if !slices.Equal(got, c.want) || err != io.EOF {
					t.Errorf("got %+v, %v, want %+v", got, err, c.want)
				}
				if want := strings.TrimPrefix(c.in, "\ufeff"); raw != want {
					t.Errorf("raw %q, want %q", raw, want)
				}
			}
		})
	}
}

func TestNextIsImmediateForCR(t *testing.T) {
	pr, pw := io.Pipe()
	defer pr.Close()
	go pw.Write([]byte("data: x\r\r"))
	ev, err := NewReader(pr, 0).Next()
	if err != nil || string(ev.Data) != "x" {
		t.Errorf("got %q, %v", ev.Data, err)
	}
}

func TestNextSizeLimit(t *testing.T) {
	const limit = 64 << 10
	fits := "data: " + strings.Repeat("x", limit-8) + "\n\n"
	for _, c := range []struct {
		name, in string
		err      error
		events   int
	}{
		{"just fits", fits + fits, io.EOF, 2},
		{"one byte more", "data: a\n\ndata: " + strings.Repeat("x", limit-7) + "\n\n", ErrEventTooLarge, 1},
		{"many small lines", strings.Repeat("data: 1234567890\n", limit/10), ErrEventTooLarge, 0},
		{"16 MiB line", "data: " + strings.Repeat("x", 16<<20) + "\n\n", ErrEventTooLarge, 0},
		{"endless comment", ":" + strings.Repeat("x", 2*limit), ErrEventTooLarge, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, src := range []io.Reader{strings.NewReader(c.in), iotest.HalfReader(strings.NewReader(c.in))} {
				r := NewReader(src, limit)
				events, _, err := readAll(r)
				if err != c.err || len(events) != c.events {
					t.Errorf("%d events, %v; want %d, %v", len(events), err, c.events, c.err)
				}
				if _, again := r.Next(); again != c.err {
					t.Errorf("the error is not permanent: %v", again)
				}
				if cap(r.buf) > 4*limit {
					t.Errorf("buffer grew to %d bytes", cap(r.buf))
				}
			}
		})
	}
	if _, _, err := readAll(NewReader(strings.NewReader("data: "+strings.Repeat("x", 16<<20)+"\n\n"), 17<<20)); err != io.EOF {
		t.Errorf("16 MiB under a larger limit: %v", err)
	}
}

func TestNextSourceErrors(t *testing.T) {
	broken := errors.New("connection reset")
	r := NewReader(io.MultiReader(strings.NewReader("data: a\n\ndata: b\n"), iotest.ErrReader(broken)), 0)
	if ev, err := r.Next(); err != nil || string(ev.Data) != "a" {
		t.Errorf("first: %q, %v", ev.Data, err)
	}
	for range 2 {
		if ev, err := r.Next(); err != broken || ev.Data != nil {
			t.Errorf("after the break: %q, %v", ev.Data, err)
		}
	}
	if _, err := NewReader(stuck{}, 0).Next(); err != io.ErrNoProgress {
		t.Errorf("a source without progress: %v", err)
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// TestBufferSize: a stream of a token at a time needs little, and one that comes at once is not read in small pieces.
func TestBufferSize(t *testing.T) {
	event := "data: " + strings.Repeat("x", 300) + "\n\n"
	slow := make(cuts, 1000)
	for i := range slow {
		slow[i] = event
	}
	for _, c := range []struct {
		src  io.Reader
		want int
	}{{&slow, initialBuffer}, {strings.NewReader(strings.Repeat(event, 1000)), usualBuffer}} {
		r := NewReader(c.src, 0)
		if events, _, err := readAll(r); err != io.EOF || len(events) != 1000 {
			t.Fatalf("%d events, %v", len(events), err)
		}
		if len(r.buf) != c.want {
			t.Errorf("a buffer of %d bytes, not of %d", len(r.buf), c.want)
		}
	}
}

func TestBuffered(t *testing.T) {
	r := NewReader(&cuts{"data: 1\n\ndata: 2\r\n\r\ndata: 3\r\rdata: 4\n", "\n"}, 0)
	for i, want := range []bool{true, true, false, false} {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		if got := r.Buffered(); got != want {
			t.Errorf("after event %d: %v, want %v", i+1, got, want)
		}
	}
	r = NewReader(&cuts{"data: 1\r\n\r", "\n: x\n", "\n"}, 0)
	r.Next()
	r.fill()
	if r.Buffered() {
		t.Error("the LF of a split CRLF counts as a block")
	}
}

func TestAppendEvent(t *testing.T) {
	for _, c := range []struct{ name, data, want string }{
		{"", "{}", "data: {}\n\n"},
		{"ping", "", "event: ping\ndata: \n\n"},
		{"", "a\nb\r\nc\rd", "data: a\ndata: b\ndata: c\ndata: d\n\n"},
		{"", "a\n", "data: a\ndata: \n\n"},
		{"", Done, "data: [DONE]\n\n"},
	} {
		if got := string(AppendEvent(nil, c.name, []byte(c.data))); got != c.want {
			t.Errorf("AppendEvent(%q, %q) = %q, want %q", c.name, c.data, got, c.want)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte(transcript), 3)
	f.Add([]byte("data: x\r\n\r"), 1)
	f.Add([]byte("\xef\xbbdata"), 2)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		if cut < 0 || cut > len(in) {
			cut = len(in) / 2
		}
		whole, raw, err := readAll(NewReader(bytes.NewReader(in), 0))
		if err != io.EOF {
			t.Fatal(err)
		}
		if want := strings.TrimPrefix(string(in), "\ufeff"); raw != want {
			t.Fatalf("raw %q, want %q", raw, want)
		}
		parts, partsRaw, _ := readAll(NewReader(&cuts{string(in[:cut]), string(in[cut:])}, 0))
		if !slices.Equal(whole, parts) || raw != partsRaw {
			t.Fatalf("cut at %d: %+v, whole %+v", cut, parts, whole)
		}
		// What we write, we read back; line ends inside data come back as LF.
		for _, ev := range whole {
			again, _, _ := readAll(NewReader(bytes.NewReader(AppendEvent(nil, ev.name, []byte(ev.data))), 0))
			if len(again) != 1 || again[0].data != ev.data || again[0].name != ev.name {
				t.Fatalf("%+v written and read is %+v", ev, again)
			}
		}
	})
}

func BenchmarkReader(b *testing.B) {
	chunk := "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"m\"," +
		"\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"finish_reason\":null}]}\n\n"
	r := NewReader(&again{text: strings.Repeat(chunk, 1000)}, 0)
	b.ReportAllocs()
	b.SetBytes(int64(len(chunk)))
	for range b.N {
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
		r.Buffered()
	}
}

// again is a source that never ends.
type again struct {
	text string
	at   int
}

func (a *again) Read(p []byte) (int, error) {
	n := copy(p, a.text[a.at:])
	a.at = (a.at + n) % len(a.text)
	return n, nil
}

func TestReaderDoesNotAllocate(t *testing.T) {
	r := NewReader(&again{text: strings.Repeat("event: a\ndata: x\ndata: y\n\n", 100)}, 0)
	read := func() {
		for range 1000 {
			if _, err := r.Next(); err != nil {
				t.Fatal(err)
			}
		}
	}
	read()
	if n := testing.AllocsPerRun(10, read); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
