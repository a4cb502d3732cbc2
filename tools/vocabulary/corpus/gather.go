package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
)

// gatherer makes the texts. It is seeded, so that the same tree gives the same texts.
type gatherer struct {
	*rand.Rand
	texts []string
	seen  map[string]bool
}

// gather returns varied texts: prose in many scripts, code, emoji, white space, numbers, very long words, noise.
func gather(root string) ([]string, error) {
	g := &gatherer{Rand: rand.New(rand.NewPCG(1, 2)), seen: map[string]bool{}}
	for _, s := range prose {
		g.variants(s)
	}
	for _, s := range code {
		g.add(s, "\t"+strings.ReplaceAll(s, "\n", "\n\t"), strings.ReplaceAll(s, "\n", "\r\n"), strings.ToUpper(s))
	}
	if err := g.files(root); err != nil {
		return nil, err
	}
	g.emoji()
	g.numbers()
	g.whiteSpace()
	g.longWords()
	for _, alphabet := range alphabets {
		runes := []rune(alphabet)
		for range 120 {
			g.add(g.from(runes, 1+g.IntN(24)))
		}
	}
	g.noise()
	return g.texts, nil
}

func (g *gatherer) add(texts ...string) {
	for _, s := range texts {
		if !g.seen[s] {
			g.seen[s] = true
			g.texts = append(g.texts, s)
		}
	}
}

// from is n random runes of an alphabet.
func (g *gatherer) from(alphabet []rune, n int) string {
	var b strings.Builder
	for range n {
		b.WriteRune(alphabet[g.IntN(len(alphabet))])
	}
	return b.String()
}

// variants are a sentence in several shapes.
func (g *gatherer) variants(s string) {
	runes := []rune(s)
	g.add(s, strings.ToUpper(s), strings.ToTitle(s), strings.ReplaceAll(s, " ", ""), strings.ReplaceAll(s, " ", "  "),
		strings.ReplaceAll(s, " ", "\u00a0"), strings.ReplaceAll(s, " ", "_"), s+"\n\n"+s+"\r\n ", "“"+s+"”", strings.Repeat(s+" ", 5),
		"{\"text\": \""+s+"\", \"n\": 1}", "- **"+s+"**\n  - "+s)
	for range 14 {
		from := g.IntN(len(runes))
		g.add(string(runes[from : from+1+g.IntN(len(runes)-from)]))
	}
	words := strings.Fields(s)
	g.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
	g.add(strings.Join(words, "-"), strings.Join(words, "/"), strings.Join(words, ".\n"))
	g.Shuffle(len(runes), func(i, j int) { runes[i], runes[j] = runes[j], runes[i] })
	g.add(string(runes))
}

// files are paragraphs of the repository's own documents and sources.
func (g *gatherer) files(root string) error {
	for _, name := range []string{
		"README.md", "ARCHITECTURE.md", "RATIONALE.md", "docs/policies.md", "Makefile", "go.sum", "engine/stream.go", "engine/attempt.go",
		"engine/dialect/scan.go", "scripts/smoke.sh", "engine/catalog/builtin.tsv",
	} {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		paragraphs := strings.Split(string(text), "\n\n")
		for i := 0; i < len(paragraphs); i += max(1, len(paragraphs)/60) {
			g.add(paragraphs[i])
		}
		g.add(string(text[:min(len(text), 12_000)]))
	}
	return nil
}

func (g *gatherer) emoji() {
	for _, s := range emoji {
		g.add(s, "a"+s+"b", s+s+s, " "+s+" ", s+"\n", "x\u200d"+s)
	}
	for range 150 {
		var b strings.Builder
		for range 1 + g.IntN(8) {
			b.WriteString(emoji[g.IntN(len(emoji))])
			if g.IntN(3) == 0 {
				b.WriteString([]string{" ", "\u200d", "\ufe0f", "!", "ok", "\n"}[g.IntN(6)])
			}
		}
		g.add(b.String())
	}
}

func (g *gatherer) numbers() {
	for n := range 40 {
		g.add(strings.Repeat("1234567890", 5)[:n+1])
	}
	for range 80 {
		n := strconv.FormatUint(g.Uint64()>>g.IntN(60), 10)
		g.add(n, n+"."+n, "-"+n+"e"+n[:1], n[:1]+","+n, "0x"+strconv.FormatUint(g.Uint64(), 16), "$"+n+"%", n+"th", "№"+n)
	}
	g.add("٠١٢٣٤٥٦٧٨٩", "१२३४५", "½ ⅓ Ⅷ ① ²³", "1\u030812\u0308", "2026-11-26T01:18:42.123456Z", "+1 (555) 010-9999", "192.168.0.1:8080", "1 000 000,00 €")
}

func (g *gatherer) whiteSpace() {
	for _, s := range []string{" ", "\t", "\n", "\r\n", "\r", "\u00a0", "\u3000", "\v\f", "\u2028", "\u0085", " \n", "\n ", "\t "} {
		for n := 1; n <= 9; n++ {
			run := strings.Repeat(s, n)
			g.add(run, "a"+run, run+"a", "a"+run+"b", "."+run+".", "1"+run+"1", run+"!", "日"+run+"本")
		}
		g.add(strings.Repeat(s, 100), strings.Repeat(s, 1000)+"x")
	}
}

func (g *gatherer) longWords() {
	for _, s := range []string{"a", "A", "ab", "xyz", "é", "日", "!", "=", "-", "a\u0301", "\u0301", "🙂", "Ab", "aB", "😀\u200d", "0", "/", "あい"} {
		for _, n := range []int{2, 7, 33, 130, 700, 2500} {
			g.add(strings.Repeat(s, n))
		}
	}
	letters := []rune("etaoinshrdlu")
	for _, n := range []int{90, 95, 96, 97, 98, 99, 130, 250, 500, 1000, 4000} {
		g.add(g.from(letters, n), g.from([]rune("ACGT"), n), g.from([]rune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"), n),
			g.from([]rune("的一是不了人我在有他这为之大来以个中上们"), n/3))
	}
}

// noise is random bytes made valid, and random runes of all planes.
func (g *gatherer) noise() {
	for range 200 {
		raw := make([]byte, 1+g.IntN(200))
		for i := range raw {
			raw[i] = byte(g.Uint32())
		}
		g.add(strings.ToValidUTF8(string(raw), "\ufffd"))
	}
	for range 200 {
		var runes []rune
		for range 1 + g.IntN(40) {
			r := rune(g.IntN([]int{0x80, 0x300, 0x3000, 0xd800, 0x20000}[g.IntN(5)]))
			if unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Z) {
				runes = append(runes, r)
			}
		}
		g.add(string(runes))
	}
}
