package tokens

// The vocabularies are used with patterns that cut a text into pieces, each of which is tokenized alone. They are regular
// expressions with look-ahead, matched from left to right, alternatives in order, which is what the functions below do by
// hand. Each returns the end of the piece that begins at i, which must be inside of the text. They take linear time.

// o200k cuts as o200k_base does:
//
//	[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?
//	[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?
//	\p{N}{1,3}
//	 ?[^\s\p{L}\p{N}]+[\r\n/]*
//	\s*[\r\n]+
//	\s+(?!\S)
//	\s+
func (c *classes) o200k(text []byte, i int) int {
	class, width := c.at(text, i)
	small, capital := -1, -1 // where the first two patterns end
	switch class {
	case upper, lower, letter:
		small, capital = c.word(text, i)
	case number:
		return c.digits(text, i)
	case mark: // stands before a word, or is one
		if small, _ = c.word(text, i+width); small < 0 {
			small, _ = c.word(text, i)
		}
	case space, other:
		small, capital = c.word(text, i+width)
	}
	switch {
	case small >= 0:
		return small + contraction(text, small)
	case capital >= 0:
		return capital + contraction(text, capital)
	}
	if end := c.symbols(text, i); end > i {
		for end < len(text) && (text[end] == '\n' || text[end] == '\r' || text[end] == '/') {
			end++
		}
		return end
	}
	return c.spaces(text, i)
}

// word finds the end of a word at i that ends in small letters, and of one that begins with capitals; -1 for none.
func (c *classes) word(text []byte, i int) (small, capital int) {
	small, capital = -1, -1
	class, width := c.at(text, i)
	for class == upper || class == letter || class == mark {
		i += width
		if capital = i; class != upper { // letters without a case can end either
			small = i
		}
		class, width = c.at(text, i)
	}
	for class == lower || class == letter || class == mark {
		i += width
		small = i
		class, width = c.at(text, i)
	}
	return small, capital
}

// contraction is the length of the English one that stands at i, 0 if there is none.
func contraction(text []byte, i int) int {
	if len(text)-i < 2 || text[i] != '\'' {
		return 0
	}
	const toLower = 0x20
	first, second := text[i+1]|toLower, byte(0)
	if len(text)-i > 2 {
		second = text[i+2] | toLower
	}
	switch {
	case first == 's', first == 't', first == 'm', first == 'd':
		return 2
	case first == 'l' && second == 'l', (first == 'r' || first == 'v') && second == 'e':
		return 3
	}
	return 0
}

// digits finds the end of a number at i: three digits are a piece.
func (c *classes) digits(text []byte, i int) int {
	for range 3 {
		class, width := c.at(text, i)
		if class != number {
			break
		}
		i += width
	}
	return i
}

// symbols finds the end of what is neither letter, number nor white space, with one blank before it; i if there is none.
func (c *classes) symbols(text []byte, i int) int {
	end := i
	if text[i] == ' ' {
		end++
	}
	start := end
	class, width := c.at(text, end)
	for class == other || class == mark {
		end += width
		class, width = c.at(text, end)
	}
	if end == start {
		return i
	}
	return end
}

// spaces finds the end of white space at i: after its last line break, or before the last one of it, which goes with the
// word that follows.
func (c *classes) spaces(text []byte, i int) int {
	last, lines, end := i, i, i
	class, width := c.at(text, i)
	for class == space || class == newline {
		last = end
		end += width
		if class == newline {
			lines = end
		}
		class, width = c.at(text, end)
	}
	switch {
	case lines > i:
		return lines
	case class != nothing && last > i:
		return last
	}
	return end
}

// cl100k cuts as cl100k_base does:
//
//	(?i:'s|'t|'re|'ve|'m|'ll|'d)
//	[^\r\n\p{L}\p{N}]?\p{L}+
//	\p{N}{1,3}
//	 ?[^\s\p{L}\p{N}]+[\r\n]*
//	\s*[\r\n]+
//	\s+(?!\S)
//	\s+
func (c *classes) cl100k(text []byte, i int) int {
	if n := contraction(text, i); n > 0 {
		return i + n
	}
	class, width := c.at(text, i)
	switch class {
	case upper, lower, letter:
		return c.letters(text, i)
	case number:
		return c.digits(text, i)
	case mark, space, other:
		if end := c.letters(text, i+width); end > i+width {
			return end
		}
	}
	if end := c.symbols(text, i); end > i {
		for end < len(text) && (text[end] == '\n' || text[end] == '\r') {
			end++
		}
		return end
	}
	return c.spaces(text, i)
}

// letters finds the end of letters of any case at i; i if there are none.
func (c *classes) letters(text []byte, i int) int {
	class, width := c.at(text, i)
	for class == upper || class == lower || class == letter {
		i += width
		class, width = c.at(text, i)
	}
	return i
}
