package badgerdb

import (
	"io"

	"github.com/pointsman/pointsman/storage/ledger"
)

// Export writes the lines at positions from to to (0: the last one) in format jsonl or csv, see docs/ledger.md. A line that is
// missing ends it with an error.
func (s *Snapshot) Export(w io.Writer, format string, from, to uint64) error {
	x, err := ledger.NewExporter(w, format)
	if err != nil {
		return err
	}
	if err := s.Each(from, to, x.Add); err != nil {
		return err
	}
	return x.Close()
}
