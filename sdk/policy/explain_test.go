package policy_test

import (
	"strings"
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// TestExplain: an explanation never gets longer than the contract allows, nor ends within a character.
func TestExplain(t *testing.T) {
	var p policy.Plan
	p.Explain("best of ")
	p.ExplainNumber(12)
	if string(p.Explanation) != "best of 12" {
		t.Fatalf("got %q", p.Explanation)
	}
	p.Explain(strings.Repeat("ü", 250) + "x")
	if len(p.Explanation) != 511 {
		t.Fatalf("%d bytes", len(p.Explanation))
	}
	p.Explain("é")
	p.ExplainNumber(10)
	if len(p.Explanation) != 511 {
		t.Fatalf("%d bytes after more", len(p.Explanation))
	}
	p.ExplainNumber(7)
	p.Explain("more")
	if len(p.Explanation) != abi.MaxExplanation || !strings.HasSuffix(string(p.Explanation), "üx7") {
		t.Fatalf("%d bytes, %q", len(p.Explanation), p.Explanation)
	}
}

func TestLookup(t *testing.T) {
	lines := []byte("account=a1\nempty=\nmetadata.team=blue=green\n")
	for key, want := range map[string]string{"account": "a1", "empty": "", "metadata.team": "blue=green", "team": "", "a": "", "": ""} {
		if got := policy.Lookup(lines, key); string(got) != want {
			t.Errorf("%s: %q", key, got)
		}
	}
}
