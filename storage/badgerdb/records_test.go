package badgerdb

import (
	"bytes"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/storagetest"
)

// A snapshot that is restored elsewhere proves and has the standing of its moment, whatever came after it.
func TestRestoredLedgerIsTheSame(t *testing.T) {
	s := openStore(t, Config{Dir: populated(t)})
	if err := s.PutProviderKey(storage.ProviderKey{ID: "byok_1", Account: "alice", Provider: "openai", Sealed: []byte("sealed")}); err != nil {
		t.Fatal(err)
	}
	snapshot, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	want, err := snapshot.Balances()
	if err != nil {
		t.Fatal(err)
	}
	sum, err := snapshot.Summary()
	if err != nil {
		t.Fatal(err)
	}
	for range 30 {
		charge(t, s, "alice", 1)
	}
	var stream bytes.Buffer
	records, err := snapshot.Copy(&stream)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "new")
	if err := RestoreLedger(dir, bytes.NewReader(stream.Bytes())); err != nil {
		t.Fatal(err)
	}
	if err := Verify(dir, io.Discard); err != nil {
		t.Fatal(err)
	}
	restored, err := OpenSnapshot(dir)
	if err != nil {
		t.Fatal(err)
	}
	got, err := restored.Balances()
	if err != nil {
		t.Fatal(err)
	}
	gotSum, _ := restored.Summary()
	keys, err := restored.ProviderKeys()
	if err != nil || len(keys) != 1 || string(keys[0].Sealed) != "sealed" {
		t.Errorf("provider keys %v, %v", keys, err)
	}
	if err := restored.Close(); err != nil {
		t.Error(err)
	}
	if len(got) != len(want) || gotSum != sum {
		t.Fatalf("%d accounts, %+v; want %d, %+v", len(got), gotSum, len(want), sum)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%+v, want %+v", got[i], want[i])
		}
	}
	if err := RestoreLedger(dir, bytes.NewReader(stream.Bytes())); err == nil || !strings.Contains(err.Error(), "holds something already") {
		t.Errorf("a second time: %v", err)
	}
	// What was cut or changed is refused, at every byte of a small stream's end and here and there before it.
	for n := stream.Len() - 1; n > 0; n -= 1 + (stream.Len()-n)/3 {
		if err := eachRecord(bytes.NewReader(stream.Bytes()[:n]), func(*badger.Entry) error { return nil }); err == nil {
			t.Errorf("%d of %d bytes of %d records were enough", n, stream.Len(), records)
		}
	}
	if err := eachRecord(bytes.NewReader(append(stream.Bytes(), 1)), func(*badger.Entry) error { return nil }); err == nil {
		t.Error("a stream went on behind its end")
	}
}

func TestRestoredLogIsTheSame(t *testing.T) {
	dir := t.TempDir()
	l, err := OpenLog(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		l.Append(storage.LogRecord{Usage: storage.Usage{Request: storagetest.NewRequest(), Account: "alice", Credits: 7}})
	}
	l.AppendGeneration(3, []byte("generation"))
	var running, stopped bytes.Buffer
	if _, err := l.Copy(&running); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := CopyLog(dir, &stopped); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(running.Bytes(), stopped.Bytes()) {
		t.Error("the copy of the stopped log differs")
	}
	to := t.TempDir()
	if err := RestoreLog(to, &running); err != nil {
		t.Fatal(err)
	}
	restored, err := OpenLog(Config{Dir: to})
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	if records, _, err := restored.Usage("alice", "", 2000); err != nil || len(records) != 1000 || records[0].Credits != 7 {
		t.Errorf("%d records, %v", len(records), err)
	}
	if data, err := restored.Generation(3); err != nil || string(data) != "generation" {
		t.Errorf("%q, %v", data, err)
	}
	expiring := 0
	err = restored.view(func(txn *badger.Txn) error {
		return eachKey(txn, nil, func(_ []byte, item *badger.Item) error {
			if at := item.ExpiresAt(); at > uint64(time.Now().Add(24*time.Hour).Unix()) {
				expiring++
			}
			return nil
		})
	})
	if err != nil || expiring == 0 {
		t.Errorf("%d records expire, %v", expiring, err)
	}
}

func FuzzRecords(f *testing.F) {
	f.Add([]byte{0, 0})
	f.Add([]byte{1, 'k', 1, 'v', 0, 0, 1})
	f.Add([]byte{1, 'k', 0xff, 0xff, 0xff, 0xff, 0x0f, 'v'})
	f.Fuzz(func(t *testing.T, stream []byte) {
		n := 0
		if err := eachRecord(bytes.NewReader(stream), func(e *badger.Entry) error {
			n += len(e.Key) + len(e.Value)
			return nil
		}); err == nil && n > len(stream) {
			t.Errorf("%d bytes came of %d", n, len(stream))
		}
	})
}
