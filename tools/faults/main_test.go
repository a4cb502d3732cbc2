package main

import (
	"slices"
	"testing"
)

func TestMerge(t *testing.T) {
	for _, c := range []struct {
		name          string
		figures, want []string
	}{
		{"none", nil, nil},
		{"one", []string{"12 kills, longest 900µs"}, []string{"12 kills, longest 900µs"}},
		{
			"alike, by size and not by letter",
			[]string{"9 kills, longest 900µs", "10 kills, longest 1.2ms", "11 kills, longest 20ns"},
			[]string{"3 times: 9 to 11 kills, longest 20ns to 1.2ms"},
		},
		{"alike in some numbers", []string{"0 lost of 5", "0 lost of 7"}, []string{"2 times: 0 lost of 5 to 7"}},
		{"negative", []string{"grew by -3", "grew by 2"}, []string{"2 times: grew by -3 to 2"}},
		{"of other words, in the order of these", []string{"b: 1", "a: 2", "b: 3"}, []string{"a: 2", "2 times: b: 1 to 3"}},
		{"a minute is more than a second", []string{"took 2m", "took 90s"}, []string{"2 times: took 90s to 2m"}},
	} {
		if got := merge(c.figures); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, not %q", c.name, got, c.want)
		}
	}
}

// TestWorst: a test whose subtest was skipped did not try everything, though it passed.
func TestWorst(t *testing.T) {
	for _, c := range []struct {
		actions []string
		want    string
	}{
		{[]string{"run", "output", "pass"}, "pass"},
		{[]string{"pass", "skip", "pass", "pass"}, "skip"},
		{[]string{"skip", "fail", "pass", "fail"}, "fail"},
		{[]string{"run"}, ""},
	} {
		x := &result{}
		for _, action := range c.actions {
			x.take(&event{Action: action})
		}
		if x.action != c.want {
			t.Errorf("%v: %q, not %q", c.actions, x.action, c.want)
		}
	}
}
