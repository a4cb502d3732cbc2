package policies

import "testing"

// TestCompareWithAnd branches on comparisons of 0 with x & y, in both orders: the compiler of wazero 1.12 for amd64 gets
// those with the 0 in front wrong, on code that was not rewritten.
func TestCompareWithAnd(t *testing.T) {
	e := newEngines(t)
	for op := byte(0x48); op <= 0x4F; op++ { // i32.lt_s … i32.ge_u
		for _, x := range []int64{-128, 0, 96} {
			for _, front := range []bool{true, false} {
				and := cat(i32(x), i32(-1), []byte{opI32And})
				code := cat(i32(0), and)
				if !front {
					code = cat(and, i32(0))
				}
				code = cat(code, []byte{op, opIf, typeI64, opI64Const, 1, 0x05, opI64Const, 0, opEnd})
				s := source{Functions: []function{{Type: typeDescribe, Code: code, Export: "f"}}}
				s.Globals = []byte{1, typeI64, 0, opI64Const, 0, opEnd}
				s.Exports, s.Exported = cat(name("count"), []byte{kindGlobal, 0}), 1
				metered, err := meter(s.Module(), plenty)
				if err != nil {
					t.Fatal(err)
				}
				compiled, err := run(e.compiler, metered, nil)
				if err != nil {
					t.Fatal(err)
				}
				interpreted, err := run(e.interpreter, metered, nil)
				if err != nil {
					t.Fatal(err)
				}
				if how := compiled.differs(interpreted); how != "" {
					t.Errorf("operation %#x, x %d, 0 in front %v: %s", op, x, front, how)
				}
			}
		}
	}
}
