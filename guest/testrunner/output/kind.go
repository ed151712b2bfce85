package output

import (
	"bytes"
	"cmp"
	"strconv"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// kind is a way to print tests, in words.
type kind string

const (
	kindGoTest    kind = "go test's"
	kindMarked    kind = "go test's with -test.v=test2json"
	kindGoJSON    kind = "go test's with -json"
	kindTAP       kind = "TAP"
	kindTestProgs kind = "test_progs'"
	kindGTest     kind = "GoogleTest's"
	kindLibtest   kind = "that of Rust's tests"
)

// failureLine tells whether a line says, by itself and from its first byte on,
// that a test failed, of which kind it is, and the test's name:
//
//	--- FAIL: TestX (0.00s)
//	not ok 3 - x
//	#3 x:FAIL
//	[  FAILED  ] Some.Test (0 ms)
//	test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out
//	{"Action":"fail","Test":"TestX"}
func failureLine(text []byte) (kind, string, bool) {
	if len(text) == 0 {
		return "", "", false
	}
	switch text[0] {
	case mark, '-':
		bare, marked := bytes.CutPrefix(text, []byte{mark})
		if t, _, ok := goResult(bare); ok && t.Verdict == wire.TestFail {
			if marked {
				return kindMarked, t.Name, true
			}
			return kindGoTest, t.Name, true
		}
	case 'n':
		if p, ok := tapPoint(text); ok && !p.ok && isTAP(text) && p.verdict(false) == wire.TestFail {
			return kindTAP, cmp.Or(p.name, strconv.Itoa(max(p.number, 1))), true
		}
	case '#':
		if t, ok := testProgsResult(text); ok && t.Verdict == wire.TestFail {
			return kindTestProgs, t.Name, true
		}
	case '[':
		if rest, ok := bytes.CutPrefix(text, []byte(gtestFailed)); ok {
			name, _, _ := gtestResult(rest)
			if _, _, count := gtestCount(rest); count {
				name = ""
			}
			return kindGTest, name, true
		}
	case 't':
		if _, failed, ok := libtestSummary(text); ok && failed {
			return kindLibtest, "", true
		}
	case '{':
		if e, known := goJSONEvent(text); known && e.action == "fail" {
			return kindGoJSON, e.test, true
		}
	}
	return "", "", false
}
