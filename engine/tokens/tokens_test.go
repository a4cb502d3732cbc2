package tokens

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// TestPieces shows how texts are cut.
func TestPieces(t *testing.T) {
	c := New()
	for _, s := range []struct {
		with Vocabulary
		text string
		want string
	}{
		{O200k, "Hello world", "Hello| world"},
		{O200k, "camelCaseHTTPName", "camel|Case|HTTPName"},
		{O200k, "it's IT'S we'LL 'tis", "it's| IT'S| we'LL| '|tis"},
		{CL100k, "it's camelCase", "it|'s| camelCase"},
		{O200k, "1234567", "123|456|7"},
		{O200k, "a  b\t\tc", "a| | b|\t|\tc"},
		{O200k, "a \n \n b  ", "a| \n \n| b|  "},
		{O200k, "a\r\n\r\n  b", "a|\r\n\r\n| | b"},
		{O200k, "!!\n//x", "!!\n//|x"},
		{CL100k, "!!\n//x", "!!\n|//|x"},
		{O200k, "e\u0301A\u0301a", "e\u0301|A\u0301a"},
		{CL100k, "e\u0301a", "e|\u0301a"},
		{O200k, "a\xffb\xff", "a|\xffb|\xff"},
	} {
		_, cut := c.load(s.with)
		var pieces []string
		for i := 0; i < len(s.text); {
			end := cut(c.classes, []byte(s.text), i)
			pieces = append(pieces, s.text[i:end])
			i = end
		}
		if got := strings.Join(pieces, "|"); got != s.want {
			t.Errorf("%d %q: %q, want %q", s.with, s.text, got, s.want)
		}
	}
}

// TestPartsAddUp says that texts which cannot run into each other have as many tokens together as apart.
func TestPartsAddUp(t *testing.T) {
	c := New()
	for _, with := range []Vocabulary{O200k, CL100k} {
		var whole []byte
		sum := 0
		for _, s := range corpus(t) {
			word := strings.TrimSpace(s.text)
			if word == "" || strings.IndexFunc(word[:1], isASCIILetter) < 0 {
				continue
			}
			part := []byte("x\n" + word) // a line break ends a piece, and no letter belongs to it
			if last := word[len(word)-1]; !isASCIILetter(rune(last)) {
				continue
			}
			sum += c.Count(with, part)
			whole = append(whole, part...)
			whole = append(whole, '\n')
			sum += c.Count(with, []byte("\n"))
		}
		if got := c.Count(with, whole); got != sum || sum < 10_000 {
			t.Errorf("vocabulary %d: %d tokens together, %d apart", with, got, sum)
		}
	}
}

func isASCIILetter(r rune) bool { return r|0x20 >= 'a' && r|0x20 <= 'z' }

// TestMergesAgree holds the two ways of merging against each other.
func TestMergesAgree(t *testing.T) {
	c := New()
	v, _ := c.load(O200k)
	for _, s := range corpus(t) {
		piece := []byte(s.text)
		if len(piece) < 3 || len(piece) > shortPiece {
			continue
		}
		if short, long := v.mergeShort(piece), new(merge).count(v, piece); short != long {
			t.Errorf("%q: %d and %d tokens", piece, short, long)
		}
	}
}

// TestLongWords counts what would take hours if merging looked at everything again for each pair.
func TestLongWords(t *testing.T) {
	c := New()
	for word, least := range map[string]int{"a": 1, "日": 1, "xq": 100_000, " ": 1} {
		n := 1_000_000 / len(word)
		if got := c.Count(O200k, bytes.Repeat([]byte(word), n)); got < least || got > 1_000_000 {
			t.Errorf("%q, %d times: %d tokens", word, n, got)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	c, samples := New(), corpus(t)[:400]
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for _, s := range samples {
				for v, want := range s.want {
					if got := c.Count(Vocabulary(v), []byte(s.text)); got != want {
						t.Errorf("%q: %d tokens, want %d", s.text, got, want)
					}
				}
			}
		})
	}
	running.Wait()
}

func TestCountingAllocatesNothing(t *testing.T) {
	c := New()
	text := []byte(strings.Repeat("Some words, 12345 and 你好. ", 20) + strings.Repeat("ab", 200))
	count := func() { c.Count(O200k, text) }
	count()
	if n := testing.AllocsPerRun(100, count); n != 0 && !raceEnabled() {
		t.Errorf("%v allocations", n)
	}
}

// FuzzCount counts anything: the pieces cover the text, and there are no more tokens than bytes.
func FuzzCount(f *testing.F) {
	for i, s := range corpus(f) {
		if i%40 == 0 && len(s.text) < 60 {
			f.Add([]byte(s.text))
		}
	}
	f.Add([]byte("\xff\xfe a\xc3"))
	c := New()
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, with := range []Vocabulary{O200k, CL100k} {
			_, cut := c.load(with)
			pieces := 0
			for i := 0; i < len(text); pieces++ {
				end := cut(c.classes, text, i)
				if end <= i || end > len(text) {
					t.Fatalf("vocabulary %d: a piece from %d to %d of %q", with, i, end, text)
				}
				if utf8.Valid(text) && !utf8.Valid(text[i:end]) {
					t.Fatalf("vocabulary %d: %q was cut inside of a rune", with, text)
				}
				i = end
			}
			if n := c.Count(with, text); n < pieces || n > len(text) {
				t.Fatalf("vocabulary %d: %d tokens in %d pieces of %q", with, n, pieces, text)
			}
		}
	})
}

func BenchmarkCount(b *testing.B) {
	c := New()
	for name, text := range map[string]string{
		"English": "Providers count what a request has used in tokens, and charge for each of them; what they don't report is counted here.\n",
		"Chinese": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
		"code":    "for i := 0; i < len(text); {\n\tend := next(text, i)\n\tn += v.count(text[i:end], c)\n\ti = end\n}\n",
		"base64":  "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAu1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRgeLezV6ffAt0gunVTLw7onLRnrq0/",
		"one a":   "a",
	} {
		b.Run(name, func(b *testing.B) {
			long := []byte(strings.Repeat(text, 1+64_000/len(text)))
			c.Count(O200k, long)
			b.SetBytes(int64(len(long)))
			b.ReportAllocs()
			for b.Loop() {
				c.Count(O200k, long)
			}
		})
	}
}

// BenchmarkUnpack is the first use of a vocabulary.
func BenchmarkUnpack(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		New().Count(O200k, []byte("x"))
	}
}
