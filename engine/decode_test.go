package engine

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/overload"
)

func gzipped(p []byte) []byte {
	return fasthttp.AppendGzipBytesLevel(nil, p, fasthttp.CompressBestCompression)
}

func brotlied(p []byte) []byte {
	return fasthttp.AppendBrotliBytesLevel(nil, p, fasthttp.CompressBrotliBestSpeed)
}

func with(p []byte, at int, b byte) []byte {
	p = bytes.Clone(p)
	p[at] ^= b
	return p
}

// noise is text that does not compress well.
func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([]byte, n)
	for i := range out {
		out[i] = 'a' + byte(r.IntN(26))
	}
	return out
}

func TestDecode(t *testing.T) {
	const limit = 4 << 20
	short, long := []byte(`{"model":"m","messages":[]}`), noise(limit)
	zeros := make([]byte, limit)
	for _, c := range []struct {
		name, encoding string
		body           []byte
		want           []byte
		code           string // of the refusal
		says           string
	}{
		{"gzip", "gzip", gzipped(short), short, "", ""},
		{"upper case", "GZIP", gzipped(short), short, "", ""},
		{"brotli", "br", brotlied(short), short, "", ""},
		{"gzip in two members", "gzip", append(gzipped(short), gzipped(short)...), append(bytes.Clone(short), short...), "", ""},
		{"gzip of nothing", "gzip", gzipped(nil), nil, "", ""},
		{"gzip at the limit", "gzip", gzipped(long), long, "", ""},
		{"brotli at the limit", "br", brotlied(long), long, "", ""},
		{"gzip above the limit", "gzip", gzipped(append(bytes.Clone(long), 'x')), nil, "request_too_large", "4 MiB"},
		{"brotli above the limit", "br", brotlied(append(bytes.Clone(long), 'x')), nil, "request_too_large", "4 MiB"},
		{"zeros that are free", "gzip", gzipped(zeros[:1<<20]), zeros[:1<<20], "", ""},
		{"gzip bomb", "gzip", gzipped(zeros), nil, "request_too_large", "200 times"},
		{"brotli bomb", "br", brotlied(zeros), nil, "request_too_large", "200 times"},
		{"gzip cut short", "gzip", gzipped(short)[:20], nil, "invalid_encoding", "gzip"},
		{"gzip without its sum", "gzip", gzipped(short)[:len(gzipped(short))-8], nil, "invalid_encoding", "gzip"},
		{"gzip with a wrong sum", "gzip", with(gzipped(short), len(gzipped(short))-8, 1), nil, "invalid_encoding", "gzip"},
		{"gzip with a wrong length", "gzip", with(gzipped(short), len(gzipped(short))-1, 1), nil, "invalid_encoding", "gzip"},
		{"gzip and garbage", "gzip", append(gzipped(short), "garbage"...), nil, "invalid_encoding", "gzip"},
		{"plain text as gzip", "gzip", short, nil, "invalid_encoding", "gzip"},
		{"gzip as brotli", "br", gzipped(short), nil, "invalid_encoding", "br"},
		{"brotli as gzip", "gzip", brotlied(short), nil, "invalid_encoding", "gzip"},
		{"brotli cut short", "br", brotlied(long)[:1000], nil, "invalid_encoding", "br"},
		{"brotli and garbage", "br", append(brotlied(short), "garbage"...), nil, "invalid_encoding", "br"},
		{"deflate", "deflate", short, nil, "unsupported_media_type", `"deflate"`},
		{"zstd", "zstd", short, nil, "unsupported_media_type", "gzip, br or a plain body"},
		{"two encodings", "gzip, gzip", gzipped(gzipped(short)), nil, "unsupported_media_type", "several"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, fault := decode([][]byte{[]byte(c.encoding)}, c.body, limit, unbounded)
			switch {
			case fault == nil && c.code != "":
				t.Errorf("taken as %d bytes", len(got))
			case fault != nil && (fault.Code != c.code || !strings.Contains(fault.Message, c.says)):
				t.Errorf("%s: %s", fault.Code, fault.Message)
			case fault == nil && !bytes.Equal(got, c.want):
				t.Errorf("%d bytes, want %d", len(got), len(c.want))
			}
		})
	}
	if _, fault := decode([][]byte{[]byte("gzip"), []byte("gzip")}, gzipped(gzipped(short)), limit, unbounded); fault == nil || fault.Status != 415 {
		t.Errorf("two headers: %v", fault)
	}
}

// TestDecodeMemory counts all that is allocated for a body at the limit: buffers that grow to twice their size, the last one at
// the limit, make at most three limits, of which the last two are in use at once.
func TestDecodeMemory(t *testing.T) {
	const limit = 32 << 20
	body := gzipped(bytes.Repeat(noise(64<<10), limit>>16))
	if _, fault := decode([][]byte{[]byte("gzip")}, body, limit, unbounded); fault != nil { // the decoders' pool is filled
		t.Fatal(fault)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	plain, fault := decode([][]byte{[]byte("gzip")}, body, limit, unbounded)
	runtime.ReadMemStats(&after)
	if fault != nil || len(plain) != limit || cap(plain) != limit {
		t.Fatalf("%d bytes in %d: %v", len(plain), cap(plain), fault)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 3*limit {
		t.Errorf("%d MiB allocated for %d", got>>20, limit>>20)
	}
}

// BenchmarkDecode measures bodies of 100 KiB, of which text compresses to about a third.
func BenchmarkDecode(b *testing.B) {
	plain := []byte(strings.Repeat(string(noise(700))+" and some words that are said again and again; ", 140))
	for name, body := range map[string][]byte{"gzip": gzipped(plain), "br": brotlied(plain)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(plain)))
			b.ReportAllocs()
			for b.Loop() {
				if got, fault := decode([][]byte{[]byte(name)}, body, 32<<20, unbounded); fault != nil || len(got) != len(plain) {
					b.Fatal(fault)
				}
			}
		})
	}
}

// FuzzDecode wants a plain body within the limits or a refusal, whatever is sent.
func FuzzDecode(f *testing.F) {
	for _, p := range [][]byte{nil, []byte("{}"), noise(3000), make([]byte, 5000)} {
		f.Add(true, gzipped(p))
		f.Add(false, brotlied(p))
	}
	f.Fuzz(func(t *testing.T, zip bool, body []byte) {
		encoding := "br"
		if zip {
			encoding = "gzip"
		}
		const limit = 2 << 20
		plain, fault := decode([][]byte{[]byte(encoding)}, body, limit, unbounded)
		if len(plain) > limit || len(plain) > freeInflation && len(plain) > (maxInflation+1)*len(body) {
			t.Errorf("%d bytes of %d", len(plain), len(body))
		}
		if fault != nil && fault.Status != 400 && fault.Status != 413 {
			t.Errorf("%+v", fault)
		}
	})
}

func unbounded(int64) *Fault { return nil }

// What a body becomes is held before there is memory for it.
func TestDecodeHoldsBefore(t *testing.T) {
	plain := noise(4 << 20)
	for encoding, body := range map[string][]byte{"gzip": gzipped(plain), "br": brotlied(plain)} {
		held, most := int64(0), int64(32<<20)
		full := overloaded(&overload.Shed{Reason: overload.Body})
		hold := func(bytes int64) *Fault {
			if bytes > most {
				return full
			}
			held = bytes
			return nil
		}
		got, fault := decode([][]byte{[]byte(encoding)}, body, 32<<20, hold)
		if fault != nil || held != int64(cap(got)+len(body)) {
			t.Errorf("%s: %d bytes were held for %d and %d: %v", encoding, held, len(body), cap(got), fault)
		}
		held, most = 0, int64(len(body))+1<<20
		if _, fault := decode([][]byte{[]byte(encoding)}, body, 32<<20, hold); fault != full {
			t.Errorf("%s: %v, when %d bytes were held", encoding, fault, held)
		}
	}
}
