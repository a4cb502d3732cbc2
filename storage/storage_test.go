package storage

import "testing"

func TestCreditsText(t *testing.T) {
	for text, want := range map[string]Credits{
		"0": 0, "1": 1_000_000, "999.998": 999_998_000, "0.000001": 1, "-1.5": -1_500_000, "1000": 1_000_000_000,
	} {
		got, err := ParseCredits(text)
		if err != nil || got != want {
			t.Errorf("ParseCredits(%q) = %d, %v; want %d", text, got, err, want)
		}
		if got.String() != text {
			t.Errorf("Credits(%d).String() = %q, want %q", got, got.String(), text)
		}
	}
	for _, text := range []string{"", "-", ".5", "1.", "1e3", "+1", " 1", "1.0000001", "99999999999999", "0x1", "1_0", "NaN"} {
		if got, err := ParseCredits(text); err == nil {
			t.Errorf("ParseCredits(%q) = %d, want an error", text, got)
		}
	}
	if s := Credits(-1 << 63).String(); s != "-9223372036854.775808" {
		t.Errorf("smallest amount prints %q", s)
	}
}

func TestRequestIDText(t *testing.T) {
	id := RequestID{1, 2, 255}
	back, err := ParseRequestID(id.String())
	if err != nil || back != id {
		t.Fatalf("round trip gave %v, %v", back, err)
	}
	for _, text := range []string{"", "zz", id.String() + "0", "g" + id.String()[1:]} {
		if _, err := ParseRequestID(text); err == nil {
			t.Errorf("ParseRequestID(%q) must fail", text)
		}
	}
}
