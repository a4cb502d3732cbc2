package slab

import (
	"runtime"
	"strconv"
	"strings"
	"testing"
)

func TestValuesStayApart(t *testing.T) {
	var s Values[int]
	var all []*int
	for i := range 5000 {
		all = append(all, s.New())
		*all[i] = i
	}
	for i, p := range all {
		if *p != i {
			t.Fatalf("value %d is %d", i, *p)
		}
		*p = -i
	}
	for i, p := range all {
		if *p != -i {
			t.Fatalf("value %d changed with another: %d", i, *p)
		}
	}
}

func TestTextsAreCopies(t *testing.T) {
	var s Texts
	long := strings.Repeat("long", 20_000)
	var all, want []string
	for i := range 20_000 {
		text := strconv.Itoa(i)
		switch {
		case i%5000 == 0:
			text = long
		case i%7 == 0:
			text = ""
		}
		all, want = append(all, s.Copy(text)), append(want, text)
	}
	for i := range all {
		if all[i] != want[i] {
			t.Fatalf("text %d is %.20q, want %.20q", i, all[i], want[i])
		}
	}
}

// TestFewAllocations is what the package is for.
func TestFewAllocations(t *testing.T) {
	var values Values[[3]*int]
	var s Texts
	const n = 100_000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		values.New()
		s.Copy("account-0000001")
	}
	runtime.ReadMemStats(&after)
	if objects := after.Mallocs - before.Mallocs; objects > n/200 {
		t.Errorf("%d allocations for %d values and texts", objects, n)
	}
	if bytes := after.TotalAlloc - before.TotalAlloc; bytes > n*(24+15)*5/4 {
		t.Errorf("%d bytes for %d values and texts", bytes, n)
	}
}
