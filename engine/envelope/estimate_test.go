package envelope_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/engine/envelope"
	"github.com/pointsman/pointsman/engine/tokens"
)

// TestEstimatesAreHighOnAverage holds the estimates against counts of the repository's own prose and code, 4 KB at a time.
func TestEstimatesAreHighOnAverage(t *testing.T) {
	counter := tokens.New()
	for name, pattern := range map[string]string{"prose": "../../*.md", "documents": "../../docs/*.md", "code": "../*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files, %v", pattern, err)
		}
		var ratios []float64
		estimated, counted := 0, 0
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for part := range slices.Chunk(text, 4000) {
				content := strings.ToValidUTF8(string(part), "")
				quoted, err := json.Marshal(content)
				if err != nil {
					t.Fatal(err)
				}
				var e envelope.Envelope
				if err := e.Parse(envelope.FormChat, []byte(`{"messages":[{"role":"user","content":`+string(quoted)+`}]}`), envelope.DefaultLimits()); err != nil {
					t.Fatal(err)
				}
				n := counter.Count(tokens.O200k, []byte(content)) + 7
				estimated, counted = estimated+int(e.InputTokens), counted+n
				ratios = append(ratios, float64(e.InputTokens)/float64(n))
			}
		}
		slices.Sort(ratios)
		mean, low, high := float64(estimated)/float64(counted), ratios[len(ratios)/100], ratios[len(ratios)*99/100]
		t.Logf("%s: %d texts, the estimate is %.2f of the count, from %.2f to %.2f", name, len(ratios), mean, low, high)
		if mean < 1 || mean > 1.35 || low < 0.5 {
			t.Errorf("%s: the estimate is %.2f of the count on average, and %.2f at the worst", name, mean, low)
		}
	}
}
