package storage

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestKeyHashText(t *testing.T) {
	key := VirtualKey{ID: "key_1", Hash: KeyHash{0, 1, 0xab, 31: 0xff}}
	text, err := json.Marshal(key)
	digits := `"0001ab` + strings.Repeat("00", 28) + `ff"`
	if err != nil || !strings.Contains(string(text), digits) {
		t.Fatalf("it is %s, %v", text, err)
	}
	former, err := json.Marshal([32]byte(key.Hash))
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{digits, string(former)} {
		var got VirtualKey
		err := json.Unmarshal([]byte(strings.Replace(string(text), digits, form, 1)), &got)
		if err != nil || got.Hash != key.Hash {
			t.Errorf("%s was read as %x, %v", form, got.Hash, err)
		}
	}
	for _, form := range []string{`""`, `"00"`, digits[:len(digits)-1] + `0"`, strings.Replace(digits, "ab", "zz", 1), `7`, `null`, `["a"]`} {
		if err := json.Unmarshal([]byte(form), new(KeyHash)); err == nil {
			t.Errorf("%s was taken for a hash", form)
		}
	}
}
