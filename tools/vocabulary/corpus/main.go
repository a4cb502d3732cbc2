// Command corpus writes the texts that the tests of engine/tokens count, with the counts of another implementation of the
// same vocabularies:
//
//	cd tools/vocabulary && go run ./corpus ../..
//
// The file is a gzip stream of records: the length of the text, the text, its tokens in o200k_base and in cl100k_base,
// numbers as uvarints.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/tiktoken-go/tokenizer"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: corpus ROOT-OF-THE-REPOSITORY")
	}
	if err := write(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func write(root string) error {
	var counters []tokenizer.Codec
	for _, name := range []tokenizer.Encoding{tokenizer.O200kBase, tokenizer.Cl100kBase} {
		counter, err := tokenizer.Get(name)
		if err != nil {
			return err
		}
		counters = append(counters, counter)
	}
	texts, err := gather(root)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return err
	}
	for _, text := range texts {
		record := binary.AppendUvarint(nil, uint64(len(text)))
		record = append(record, text...)
		for _, counter := range counters {
			n, err := counter.Count(text)
			if err != nil {
				return err
			}
			record = binary.AppendUvarint(record, uint64(n))
		}
		if _, err := z.Write(record); err != nil {
			return err
		}
	}
	if err := z.Close(); err != nil {
		return err
	}
	path := filepath.Join(root, "engine", "tokens", "testdata", "corpus.gz")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	fmt.Printf("%d texts, %d bytes\n", len(texts), out.Len())
	return os.WriteFile(path, out.Bytes(), 0o644)
}
