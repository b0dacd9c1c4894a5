package cli

import (
	"context"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/admin"
)

func (a *app) auditVerifyCommand() *cobra.Command {
	var head string
	var asJSON bool
	command := &cobra.Command{
		Use: "verify", Short: "Check that the trail is what was written", Args: exactly(),
		Long: `
Each event is tied to the one before by a hash, so that one which was changed,
removed, added or moved is found. That the end was cut off, or everything forged
anew, only a head tells that was kept elsewhere: verify prints one, and --head takes
one from before. If the event of that head is gone, the trail counts as broken unless
the server's key proves that the retention removed it (--keep-audit). The exit code is
1 if the trail is broken.
`,
		Example: "  latchkey audit verify\n  latchkey audit verify --head 4711:5d41402abc4b2a76b9719d911017c592…",
	}
	command.Flags().StringVar(&head, "head", "", "the `HEAD` that an earlier verify printed")
	jsonFlag(command, &asJSON)
	return a.admin(command, func(ctx context.Context, api *admin.Client, _ []string) error {
		query := url.Values{}
		if head != "" {
			seq, chain, ok := strings.Cut(head, ":")
			if !ok {
				return usage("--head %q is not one that verify prints, like 4711:5d41…; nothing was done", head)
			}
			query.Set("seq", seq)
			query.Set("chain", chain)
		}
		var proof admin.Proof
		if err := api.Get(ctx, admin.PathAuditVerify, query, &proof); err != nil {
			return adminFailure(err, "event", listAudit)
		}
		return a.printProof(proof, asJSON)
	})
}

func (a *app) printProof(proof admin.Proof, asJSON bool) error {
	if asJSON {
		if err := a.printJSON(proof); err != nil {
			return err
		}
	}
	if proof.Broken != 0 {
		return fail(exitFailed, "the audit trail is broken at event #%d: %s; the events before #%d are chained to one another; compare the trail with a backup or an export (latchkey audit --json)", proof.Broken, proof.Problem, proof.Broken)
	}
	if asJSON {
		return nil
	}
	if proof.HeadTrimmed {
		a.note("the event of that head is gone: the retention removed it since, as a seal of the server's key proves; keep the head below")
	}
	if proof.Unproven {
		a.note("events before #%d are gone; the event that says that they were trimmed carries no seal of the server's key", proof.First)
	}
	return a.print("%d events are as they were written\nhead  %d:%s", proof.Events, proof.Last, proof.Head)
}
