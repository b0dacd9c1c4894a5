package cli

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/admin"
)

func (a *app) auditVerifyCommand() *cobra.Command {
	var head string
	var asJSON bool
	command := &cobra.Command{
		Use: "verify", Short: "Check that the audit trail was not changed", Args: exactly(),
		Long: `
Each event contains a hash of the event before it, so verify detects any event that was
changed, removed, added or moved. It prints the head of the trail: the number and the
hash of the last event. Keep the head in another place, and compare it later with --head:
this detects a trail whose end was cut off, and one that was forged as a whole. If the
event of that head is missing, the trail counts as broken, unless the server's key proves
that the retention removed the event (--keep-audit). The exit code is 1 if the trail is
broken.
`,
		Example: "  latchkey audit verify\n  latchkey audit verify --head 4711:5d41402abc4b2a76b9719d911017c592…",
	}
	command.Flags().StringVar(&head, "head", "", "compare with the `HEAD` that an earlier verify printed")
	jsonFlag(command, &asJSON)
	return a.admin(command, func(ctx context.Context, api *admin.Client, _ []string) error {
		seq, chain, err := parseHead(head)
		if err != nil {
			return err
		}
		proof, err := api.VerifyAudit(ctx, seq, chain)
		if err != nil {
			return adminFailure(err, "event", listAudit)
		}
		return a.printProof(proof, asJSON)
	})
}

// parseHead returns the event number and the hash of a head that verify printed: 0 and ""
// for "".
func parseHead(head string) (seq int64, chain string, err error) {
	if head == "" {
		return 0, "", nil
	}
	number, chain, ok := strings.Cut(head, ":")
	seq, err = strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || seq < 1 {
		return 0, "", usage("--head %q is not a head; nothing was done", head).
			hint("write it as verify prints it, like 4711:5d41…")
	}
	return seq, chain, nil
}

// printProof prints the result of verify. It returns an error if the trail is broken.
func (a *app) printProof(proof admin.Proof, asJSON bool) error {
	if asJSON {
		if err := a.printJSON(proof); err != nil {
			return err
		}
	}
	if proof.Broken != 0 {
		return fail(exitFailed, "the audit trail is broken at event #%d: %s; the chain is intact before #%d",
			proof.Broken, proof.Problem, proof.Broken).
			hint("compare the trail with a backup or an export (latchkey audit --json)")
	}
	if asJSON {
		return nil
	}
	if proof.HeadTrimmed {
		a.note("the retention has removed the event of that head, as a seal of the server's key proves; keep the head below")
	}
	if proof.Unproven {
		a.note("events before #%d are missing, and the event that records their removal has no seal of the server's key",
			proof.First)
	}
	return a.print("%d events are as they were written\nhead  %d:%s", proof.Events, proof.Last, proof.Head)
}
