package tokens

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"io"
	"os"
	"testing"
)

// sample is a text and how many tokens another implementation counts in it.
type sample struct {
	text string
	want [2]int // by Vocabulary
}

// corpus reads the texts that tools/vocabulary has written.
func corpus(t testing.TB) (samples []sample) {
	t.Helper()
	file, err := os.Open("testdata/corpus.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(z)
	number := func() int {
		n, err := binary.ReadUvarint(in)
		if err != nil {
			t.Fatal(err)
		}
		return int(n)
	}
	for {
		if _, err := in.Peek(1); err == io.EOF {
			return samples
		}
		text := make([]byte, number())
		if _, err := io.ReadFull(in, text); err != nil {
			t.Fatal(err)
		}
		samples = append(samples, sample{string(text), [2]int{number(), number()}})
	}
}

// TestCorpus holds the counts of thousands of texts against those of another implementation.
func TestCorpus(t *testing.T) {
	c, samples, wrong := New(), corpus(t), 0
	if len(samples) < 3000 {
		t.Fatalf("only %d texts", len(samples))
	}
	for _, s := range samples {
		for v, want := range s.want {
			if got := c.Count(Vocabulary(v), []byte(s.text)); got != want {
				if wrong++; wrong < 20 {
					t.Errorf("vocabulary %d: %d tokens, want %d: %.100q", v, got, want, s.text)
				}
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d counts are wrong", wrong, 2*len(samples))
	}
}
