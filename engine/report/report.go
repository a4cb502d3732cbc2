// Package report turns usage into tables and writes them a row at a time, as JSON lines, CSV or Parquet: the requests themselves,
// and summaries of them. It reads the parameters that ask for a summary, and knows neither storage engines nor HTTP.
package report

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/pointsman/pointsman/storage"
)

// Kind is what a column holds.
type Kind uint8

// The kinds. JSON and CSV hold amounts of money as decimals, in JSON as strings; Parquet holds them as DECIMAL, and times as
// TIMESTAMP of microseconds in UTC.
const (
	Text    Kind = iota
	Integer      // Value.N
	Flag         // Value.N is 0 or 1
	Time         // Value.N in microseconds since 1970
	Credits      // Value.N in micro-credits
	USD          // Value.N in nano-dollars
	Millis       // Value.N in microseconds, written as milliseconds
	Number       // Value.F
)

// Column is one column of a table.
type Column struct {
	Name     string
	Kind     Kind
	Optional bool // values may be null
}

// Value is one value of a row, as its column's kind says.
type Value struct {
	Text string
	N    int64
	F    float64
	Null bool
}

// Table is written row by row. Close ends it and leaves the writer below open.
type Table interface {
	Row(values []Value) error
	Close() error
}

// Formats are the names of the formats of tables.
func Formats() []string { return []string{"csv", "jsonl", "parquet"} }

// ContentType is the media type of a format.
func ContentType(format string) string {
	return map[string]string{"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}[format]
}

// New begins a table in one of the [Formats]. Its memory is bounded, however many rows it gets.
func New(format string, w io.Writer, columns []Column) (Table, error) {
	switch format {
	case "csv":
		t := &csvTable{w: csv.NewWriter(w), columns: columns, record: make([]string, len(columns))}
		for i, c := range columns {
			t.record[i] = c.Name
		}
		return t, t.w.Write(t.record)
	case "jsonl":
		return &jsonTable{w: w, columns: columns}, nil
	case "parquet":
		return newParquet(w, columns), nil
	}
	return nil, fmt.Errorf("format %.40q is none of csv, jsonl and parquet", format)
}

type csvTable struct {
	w       *csv.Writer
	columns []Column
	record  []string
	cell    []byte
}

func (t *csvTable) Row(values []Value) error {
	for i, c := range t.columns {
		switch t.cell = t.cell[:0]; {
		case values[i].Null:
			t.record[i] = ""
		case c.Kind == Text:
			t.record[i] = values[i].Text
		default:
			t.record[i] = string(appendPlain(t.cell, c.Kind, &values[i]))
		}
	}
	return t.w.Write(t.record)
}

func (t *csvTable) Close() error {
	t.w.Flush()
	return t.w.Error()
}

type jsonTable struct {
	w       io.Writer
	columns []Column
	line    []byte
}

func (t *jsonTable) Row(values []Value) error {
	t.line = append(AppendObject(t.line[:0], t.columns, values), '\n')
	_, err := t.w.Write(t.line)
	return err
}

func (t *jsonTable) Close() error { return nil }

// AppendObject appends a row as a JSON object.
func AppendObject(b []byte, columns []Column, values []Value) []byte {
	b = append(b, '{')
	for i, c := range columns {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendQuoted(b, c.Name), ':')
		b = appendJSON(b, c.Kind, &values[i])
	}
	return append(b, '}')
}

func appendJSON(b []byte, kind Kind, v *Value) []byte {
	switch {
	case v.Null:
		return append(b, "null"...)
	case kind == Text:
		return appendQuoted(b, v.Text)
	case kind == Time || kind == Credits || kind == USD:
		return append(appendPlain(append(b, '"'), kind, v), '"')
	}
	return appendPlain(b, kind, v)
}

// appendPlain appends a value that is no text as it stands in a CSV file.
func appendPlain(b []byte, kind Kind, v *Value) []byte {
	switch kind {
	case Flag:
		return strconv.AppendBool(b, v.N != 0)
	case Time:
		return time.UnixMicro(v.N).UTC().AppendFormat(b, time.RFC3339Nano)
	case Credits:
		return append(b, storage.Credits(v.N).String()...)
	case USD:
		return append(b, storage.NanoUSD(v.N).String()...)
	case Millis:
		return strconv.AppendFloat(b, float64(v.N)/1000, 'f', -1, 64)
	case Number:
		return strconv.AppendFloat(b, v.F, 'f', -1, 64)
	}
	return strconv.AppendInt(b, v.N, 10)
}

func appendQuoted(b []byte, text string) []byte {
	for _, c := range []byte(text) {
		if c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			quoted, err := json.Marshal(text)
			if err != nil { // a string always marshals
				panic(err)
			}
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), text...), '"')
}
