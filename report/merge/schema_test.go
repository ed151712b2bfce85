package merge

import (
	"bytes"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/elastic/bpf-kernel-check/report"
)

// Whatever comes of a merge is what the schema says.
func TestMergedSchema(t *testing.T) {
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile("../report.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	validate := func(m *report.Merged) error {
		var b bytes.Buffer
		if err := report.WriteReport(&b, m); err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(&b)
		if err != nil {
			t.Fatal(err)
		}
		return s.Validate(v)
	}
	set := newSet(3, 7)
	if err := validate(set.merge(t, testOptions())); err != nil {
		t.Errorf("green: %v", err)
	}
	if err := validate((&testSet{}).merge(t, testOptions())); err != nil {
		t.Errorf("nothing at all: %v", err)
	}
	programs := newProgramSet(2, "a", "b")
	programs.file(2).fail(0)
	if err := validate(programs.merge(t, testOptions())); err != nil {
		t.Errorf("programs: %v", err)
	}
	set.file(1).sealed = false
	set.file(2).fail(0)
	set.files = set.files[:2]
	o := testOptions()
	o.Plan = set.plan
	if err := validate(set.merge(t, o)); err != nil {
		t.Errorf("red: %v", err)
	}
}
