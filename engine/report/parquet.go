package report

import (
	"io"

	"github.com/parquet-go/parquet-go"
)

// rowsInGroup is how many rows a Parquet file's row group has: what is gathered in memory before it is written.
const rowsInGroup = 16 << 10

type parquetTable struct {
	w       *parquet.GenericWriter[any]
	columns []Column
	places  []int // of the columns in the file, which sorts them by name
	row     parquet.Row
	rows    int
}

func newParquet(w io.Writer, columns []Column) *parquetTable {
	group := parquet.Group{}
	for _, c := range columns {
		node := parquetNode(c.Kind)
		if c.Optional {
			node = parquet.Optional(node)
		}
		group[c.Name] = node
	}
	schema := parquet.NewSchema("usage", group)
	t := &parquetTable{
		w:       parquet.NewGenericWriter[any](w, schema, parquet.Compression(&parquet.Snappy), parquet.CreatedBy("pointsman", "", "")),
		columns: columns, row: make(parquet.Row, len(columns)),
	}
	for _, c := range columns {
		leaf, _ := schema.Lookup(c.Name)
		t.places = append(t.places, leaf.ColumnIndex)
	}
	return t
}

func parquetNode(kind Kind) parquet.Node {
	switch kind {
	case Text:
		return parquet.Encoded(parquet.String(), &parquet.RLEDictionary)
	case Flag:
		return parquet.Leaf(parquet.BooleanType)
	case Time:
		return parquet.Timestamp(parquet.Microsecond)
	case Credits:
		return parquet.Decimal(6, 18, parquet.Int64Type)
	case USD:
		return parquet.Decimal(9, 18, parquet.Int64Type)
	case Millis, Number:
		return parquet.Leaf(parquet.DoubleType)
	}
	return parquet.Int(64)
}

func (t *parquetTable) Row(values []Value) error {
	for i, c := range t.columns {
		v, at := &values[i], t.places[i]
		var cell parquet.Value
		switch {
		case v.Null:
			t.row[at] = parquet.NullValue().Level(0, 0, at)
			continue
		case c.Kind == Text:
			cell = parquet.ByteArrayValue([]byte(v.Text))
		case c.Kind == Flag:
			cell = parquet.BooleanValue(v.N != 0)
		case c.Kind == Millis:
			cell = parquet.DoubleValue(float64(v.N) / 1000)
		case c.Kind == Number:
			cell = parquet.DoubleValue(v.F)
		default:
			cell = parquet.Int64Value(v.N)
		}
		level := 0
		if c.Optional {
			level = 1
		}
		t.row[at] = cell.Level(0, level, at)
	}
	if _, err := t.w.WriteRows([]parquet.Row{t.row}); err != nil {
		return err
	}
	if t.rows++; t.rows%rowsInGroup == 0 {
		return t.w.Flush()
	}
	return nil
}

func (t *parquetTable) Close() error { return t.w.Close() }
