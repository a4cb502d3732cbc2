package replay

import (
	"bytes"
	"context"
	"testing"

	"github.com/pointsman/pointsman/cmd/pointsman/records"
	"github.com/pointsman/pointsman/policies/builtin"
)

// file is a records file in memory.
func file(t testing.TB, g records.Generated) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := records.NewWriter(&b, records.Head{})
	if err == nil {
		err = records.Copy(w, generated(t, g), nil)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// BenchmarkReplay reads records and decides them again on one processor. An operation is a record; decisions/cpu-s is a second of processor time, and counts the one that
// proves and the one of the candidate.
func BenchmarkReplay(b *testing.B) {
	const n = 100_000
	data := file(b, records.Generated{Seed: 1, Requests: n, Policies: map[string][]byte{"balanced": builtin.Modules()["balanced"]}})
	for _, one := range []struct {
		name      string
		candidate *Candidate
		decisions int
	}{
		{"prove", nil, 1},
		{"built-in", &Candidate{Name: "eco", Module: builtin.Modules()["eco"]}, 2},
	} {
		b.Run(one.name, func(b *testing.B) {
			b.ReportAllocs()
			done, before := 0, cpuTime()
			for done < b.N {
				src, _, err := records.Open(bytes.NewReader(data))
				if err != nil {
					b.Fatal(err)
				}
				r, err := Run(context.Background(), src, Options{Workers: 1, Candidate: one.candidate})
				if err != nil || r.Reproduced != n {
					b.Fatalf("%+v, %v", r, err)
				}
				done += n
			}
			b.ReportMetric(float64(done*one.decisions)/(cpuTime()-before).Seconds(), "decisions/cpu-s")
		})
	}
}
