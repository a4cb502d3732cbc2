// Command vocabulary packs OpenAI's published vocabularies for engine/tokens: the tokens in the order of their ranks, each
// after its length in one byte, the whole deflated.
//
// The deflater is a module of its own and not the standard library's, so that the packed files do not change with Go.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"

	"github.com/klauspost/compress/flate"
	"github.com/pkoukk/tiktoken-go-loader/assets"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: vocabulary DIRECTORY")
	}
	for _, name := range []string{"o200k_base", "cl100k_base"} {
		if err := pack(name, filepath.Join(os.Args[1], name+".deflate")); err != nil {
			log.Fatalf("packing %s: %v", name, err)
		}
	}
}

// pack writes one vocabulary. Its ranks must be the numbers from zero on without a gap.
func pack(name, path string) error {
	text, err := assets.Assets.ReadFile(name + ".tiktoken")
	if err != nil {
		return err
	}
	var tokens [][]byte
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		encoded, rank, found := bytes.Cut(lines.Bytes(), []byte(" "))
		if !found {
			return fmt.Errorf("line %d is not a token and its rank", len(tokens)+1)
		}
		token := make([]byte, base64.StdEncoding.DecodedLen(len(encoded)))
		n, err := base64.StdEncoding.Decode(token, encoded)
		if err != nil {
			return err
		}
		if string(rank) != strconv.Itoa(len(tokens)) || n == 0 || n > 255 {
			return fmt.Errorf("rank %s has %d bytes and follows %d others", rank, n, len(tokens))
		}
		tokens = append(tokens, token[:n])
	}
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestCompression)
	if err != nil {
		return err
	}
	for _, token := range tokens {
		if _, err := w.Write(append([]byte{byte(len(token))}, token...)); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}
