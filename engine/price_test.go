package engine

import (
	"math"
	"testing"

	"github.com/pointsman/pointsman/storage"
)

// The sums are those of the last hundred answers, whatever came before and however large it was.
func TestBillsOfTheLastHundred(t *testing.T) {
	var b bills
	for n := range 3 * billsCompared {
		if off, _, _ := b.add(math.MaxInt64, math.MaxInt64); off {
			t.Fatalf("answer %d: equal costs are off", n)
		}
	}
	for n := range billsCompared {
		b.add(storage.NanoUSD(110), 100)
		if n == billsCompared-1 {
			if b.reported != 110*billsCompared || b.listed != 100*billsCompared {
				t.Fatalf("sums %d and %d", b.reported, b.listed)
			}
		}
	}
	if off, _, _ := b.add(110, 100); off {
		t.Error("a tenth is off")
	}
	if off, reported, listed := b.add(111, 100); !off || reported != 110*billsCompared+1 || listed != 100*billsCompared {
		t.Errorf("more than a tenth: %v, %d of %d", off, reported, listed)
	}
	var free bills
	for range billsCompared - 1 {
		free.add(1, 0)
	}
	if off, _, _ := free.add(0, 0); !off {
		t.Error("what is listed as nothing and reported as something is not off")
	}
}

func BenchmarkBills(b *testing.B) {
	var kept bills
	for range billsCompared {
		kept.add(1, 1)
	}
	b.ReportAllocs()
	for b.Loop() {
		kept.add(110, 100)
	}
}
