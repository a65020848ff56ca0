package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-msk-iam-sasl-signer-go/signer"
	"github.com/aws/smithy-go"
)

// awsTokens signs tokens for Amazon MSK. The AWS SDK looks for credentials
// anew each time.
type awsTokens struct{ cfg AWS }

func (t *awsTokens) fetch(ctx context.Context) (string, time.Time, error) {
	var text string
	var end int64 // milliseconds since 1970
	var err error
	switch {
	case t.cfg.RoleARN != "":
		text, end, err = signer.GenerateAuthTokenFromRole(ctx, t.cfg.Region, t.cfg.RoleARN, t.cfg.SessionName)
	case t.cfg.Profile != "":
		text, end, err = signer.GenerateAuthTokenFromProfile(ctx, t.cfg.Region, t.cfg.Profile)
	default:
		text, end, err = signer.GenerateAuthToken(ctx, t.cfg.Region)
	}
	if err != nil {
		return "", time.Time{}, t.explain(err)
	}
	return text, time.UnixMilli(end), nil
}

// explain puts the SDK's words, which can be many lines, into one.
func (t *awsTokens) explain(err error) error {
	var refused smithy.APIError
	switch {
	case errors.As(err, &refused) && t.cfg.RoleARN != "":
		return fmt.Errorf("AWS does not let the agent assume %s: %s; correct sasl.aws.role_arn, or allow sts:AssumeRole", t.cfg.RoleARN, word(refused.ErrorCode()))
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), strings.Contains(err.Error(), "no EC2 IMDS role found"):
		return errors.New("no AWS credentials are found in environment, shared files, web identity, container or instance; give the agent some")
	}
	return fmt.Errorf("no AWS credentials: %w; give the agent some, by environment, shared files, web identity, container or instance", oneLine(err))
}
