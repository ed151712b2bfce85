package main

import "github.com/spf13/cobra"

func (c *command) indexCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "index", Short: "Compare kernels of an index"}
	cmd.AddCommand(c.indexDiffCommand(), c.indexQueryCommand())
	return cmd
}
