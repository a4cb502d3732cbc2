package openapi

import (
	"encoding/json"
	"testing"
)

func TestX(t *testing.T) {
	for _, text := range [][]byte{API(), Admin()} {
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		t.Log(len(text))
	}
}
