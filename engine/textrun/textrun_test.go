package textrun

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// slowly looks at one byte after the other.
func slowly(b []byte) (n, wide int) {
	for n < len(b) && b[n] != '"' && b[n] != '\\' && b[n] >= ' ' {
		if b[n] >= 0x80 {
			wide++
		}
		n++
	}
	return n, wide
}

// check compares both ways with the slow one, and what both leave.
func check(t *testing.T, b []byte) {
	t.Helper()
	for name, of := range map[string]func([]byte) (int, int){"words": ofWords, "this processor's": Of} {
		n, wide := of(b)
		if n < 0 || n > len(b) {
			t.Fatalf("%s: %d of %d bytes of %q", name, n, len(b), b)
		}
		left, leftWide := slowly(b[n:])
		if all, allWide := slowly(b); n+left != all || wide+leftWide != allWide || left >= 32 {
			t.Fatalf("%s: %d bytes, %d of them wide, and %d and %d are left; %d and %d come in all, of %q", name, n, wide, left, leftWide, all, allWide, b)
		}
	}
}

// TestEveryByteEverywhere: each byte stops the run, or counts as wide, at each place of it.
func TestEveryByteEverywhere(t *testing.T) {
	for _, around := range []byte{'a', ' ', '!', '#', '[', ']', 0x7f, 0x80, 0xff} {
		for _, size := range []int{0, 1, 8, 31, 32, 33, 47, 63, 64, 65, 100} {
			b := bytes.Repeat([]byte{around}, size)
			check(t, b)
			for at := range b {
				for c := range 256 {
					b[at] = byte(c)
					check(t, b)
				}
				b[at] = around
			}
		}
	}
}

// FuzzOf: any bytes.
func FuzzOf(f *testing.F) {
	f.Add([]byte(strings.Repeat("plain text ", 20) + "\n"))
	f.Add([]byte(strings.Repeat("größer ", 20) + `"`))
	f.Fuzz(check)
}

// TestRandom: long runs with few stops.
func TestRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		b := make([]byte, r.IntN(2000))
		for i := range b {
			switch b[i] = byte(' ' + 1 + r.IntN(90)); {
			case b[i] == '"' || b[i] == '\\':
				b[i] = 'x'
			case r.IntN(50) == 0:
				b[i] = byte(0x80 + r.IntN(128))
			case r.IntN(1000) == 0:
				b[i] = "\"\\\n\x00\x1f"[r.IntN(5)]
			}
		}
		check(t, b)
	}
}

func BenchmarkOf(b *testing.B) {
	for _, size := range []int{64, 1 << 10, 100 << 10} {
		for name, of := range map[string]func([]byte) (int, int){"words": ofWords, "this processor's": Of} {
			text := bytes.Repeat([]byte("x"), size)
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				b.SetBytes(int64(size))
				for b.Loop() {
					if n, _ := of(text); n != size {
						b.Fatal(n)
					}
				}
			})
		}
	}
}
