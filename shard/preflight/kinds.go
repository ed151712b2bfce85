package preflight

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Kind names everything of a kernel that objects depend on: on two kernels of one
// kind, the objects find the same. results are those of [CheckAll]. It is "" where
// not all of it is known.
func Kind(objects []*Object, k *Kernel, results []Result) string {
	h := sha256.New()
	for i, r := range results {
		fmt.Fprintf(h, "%s %+v\n", objects[i].Name, r)
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}
