// Command program is a payload that is no test binary, and has coverage all the
// same.
package main

import (
	"fmt"

	"github.com/elastic/bpf-kernel-check/shard/testdata/collect"
)

func main() { fmt.Println(collect.Branch("6.1")) }
