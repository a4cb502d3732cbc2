package outcomes

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// table is a CSV file with names of columns in its first line.
type table struct {
	name    string
	in      *csv.Reader
	columns []string
	cells   []string
}

func newTable(name string, in *bufio.Reader) (*table, error) {
	t := &table{name: name, in: csv.NewReader(in)}
	columns, err := t.in.Read()
	if err != nil {
		return nil, fmt.Errorf("%w: %s: the line with the names of columns: %w", ErrConvert, name, err)
	}
	t.columns = columns
	for i, column := range columns {
		if column != "" && slices.Index(columns, column) != i {
			return nil, fmt.Errorf("%w: %s: column %q is there twice", ErrConvert, name, column)
		}
	}
	return t, nil
}

// next reads a row; false at the end.
func (t *table) next() (bool, error) {
	var err error
	if t.cells, err = t.in.Read(); errors.Is(err, io.EOF) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%w: %s: %w", ErrConvert, t.name, err)
	}
	return true, nil
}

func (t *table) has(column string) bool { return slices.Contains(t.columns, column) }

// cell is the row's value in a column, "" if there is no such column.
func (t *table) cell(column string) string {
	if i := slices.Index(t.columns, column); i >= 0 {
		return t.cells[i]
	}
	return ""
}

func (t *table) place(column string) string {
	line, _ := t.in.FieldPos(max(slices.Index(t.columns, column), 0))
	return fmt.Sprintf("%s:%d: %s", t.name, line, column)
}

// score reads a number, or True or False; not ok if the cell says that there is none.
func (t *table) score(column string) (score float64, ok bool, err error) {
	switch text := strings.ToLower(strings.TrimSpace(t.cell(column))); text {
	case "true":
		return 1, true, nil
	case "false":
		return 0, true, nil
	case "", "nan", "none", "null":
		return 0, false, nil
	default:
		score, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return 0, false, fmt.Errorf("%w: %s: %q is no score", ErrConvert, t.place(column), text)
		}
		return score, true, nil
	}
}

// routerBench reads RouterBench's wide table (Hu et al. 2024, arXiv 2403.12031) as CSV: sample_id, prompt, eval_name, and of each model
// a column of its name with the score, NAME|total_cost in USD and NAME|model_response. Tokens are counted in the texts.
func (c *Converter) routerBench(name string, in *bufio.Reader) error {
	t, err := newTable(name, in)
	if err != nil {
		return err
	}
	var models []string
	for _, column := range t.columns {
		if model, ok := strings.CutSuffix(column, "|total_cost"); ok && t.has(model) {
			models = append(models, model)
		}
	}
	for _, column := range []string{"sample_id", "prompt", "eval_name"} {
		if !t.has(column) {
			return fmt.Errorf("%w: %s has no column %s: it is not RouterBench's wide table", ErrConvert, name, column)
		}
	}
	if len(models) == 0 {
		return fmt.Errorf("%w: %s has no pair of columns MODEL and MODEL|total_cost: it is not RouterBench's wide table", ErrConvert, name)
	}
	for {
		more, err := t.next()
		if !more {
			return err
		}
		p := Prompt{ID: t.cell("sample_id"), Task: t.cell("eval_name"), Text: pythonTexts(t.cell("prompt"))}
		for _, model := range models {
			score, ok, err := t.score(model)
			if err != nil {
				return err
			}
			cost, costErr := strconv.ParseFloat(t.cell(model+"|total_cost"), 64)
			if !ok || t.cell(model+"|total_cost") == "" {
				c.notes["answers without a score or a cost: left out"]++
				continue
			}
			if costErr != nil {
				return fmt.Errorf("%w: %s: %q is no cost", ErrConvert, t.place(model+"|total_cost"), t.cell(model+"|total_cost"))
			}
			a := Answer{Score: score, Cost: cost, Input: c.count(model, p.Text), Output: c.count(model, pythonTexts(t.cell(model+"|model_response")))}
			if err := c.add(t.place(model), p, model, a); err != nil {
				return err
			}
		}
	}
}

// routeLLM reads the answers that RouteLLM's evaluation rests on (Ong et al. 2024, arXiv 2406.18665): CSV with prompt, and of each of
// the two models a column of its name, True or False, and perhaps NAME_response. Costs come from prices.
func (c *Converter) routeLLM(name string, in *bufio.Reader) error {
	t, err := newTable(name, in)
	if err != nil {
		return err
	}
	if !t.has("prompt") {
		return fmt.Errorf("%w: %s has no column prompt: it is none of RouteLLM's tables of answers", ErrConvert, name)
	}
	var models []string
	for _, column := range t.columns {
		if column != "prompt" && column != "" && !strings.HasSuffix(column, "_response") {
			models = append(models, column)
		}
	}
	task := c.task(name)
	for row := 1; ; row++ {
		more, err := t.next()
		if !more {
			return err
		}
		p := Prompt{ID: fmt.Sprintf("%s-%d", task, row), Task: task, Text: t.cell("prompt")}
		for _, model := range models {
			score, ok, err := t.score(model)
			if err != nil {
				return err
			}
			if !ok {
				c.notes["answers without a score: left out"]++
				continue
			}
			if !t.has(model + "_response") {
				c.notes["answers whose text is not in the file: one token is assumed"]++
			}
			a := Answer{Score: score, Input: c.count(model, p.Text), Output: c.count(model, t.cell(model+"_response"))}
			if a.Cost, err = c.priced(model, a.Input, a.Output); err != nil {
				return err
			}
			if err := c.add(t.place(model), p, model, a); err != nil {
				return err
			}
		}
	}
}

// pythonTexts reads what Python prints of a list of strings, and joins them with an empty line between. What is no such list stays as it is.
func pythonTexts(text string) string {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), "[")
	if !ok {
		return text
	}
	var parts []string
	for {
		rest = strings.TrimLeft(rest, " ,\n")
		if rest == "]" {
			return strings.Join(parts, "\n\n")
		}
		part, after, ok := pythonString(rest)
		if !ok {
			return text
		}
		parts, rest = append(parts, part), after
	}
}

// pythonString reads one string as Python prints it, in either quotation mark.
func pythonString(text string) (value, rest string, ok bool) {
	if text == "" || text[0] != '\'' && text[0] != '"' {
		return "", "", false
	}
	quote := text[0]
	var b strings.Builder
	for rest = text[1:]; rest != ""; {
		if rest[0] == quote {
			return b.String(), rest[1:], true
		}
		if other := byte('\'' + '"' - quote); rest[0] == other { // which Go would want escaped, and Python does not
			b.WriteByte(other)
			rest = rest[1:]
			continue
		}
		c, _, tail, err := strconv.UnquoteChar(rest, quote)
		if err != nil {
			return "", "", false
		}
		b.WriteRune(c)
		rest = tail
	}
	return "", "", false
}
