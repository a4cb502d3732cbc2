package faultproxy

import (
	"net"
	"os"
	"testing"
	"time"
)

func TestBlackhole(t *testing.T) {
	address, end, err := Blackhole()
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	for range 3 {
		if _, err := net.DialTimeout("tcp", address, 200*time.Millisecond); !os.IsTimeout(err) {
			t.Errorf("%v", err)
		}
	}
}
