// Package shard does one job's work: it fetches each kernel of a plan, boots it
// in a VM, judges what came of it and records that.
package shard
