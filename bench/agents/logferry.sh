#!/usr/bin/env bash
# A start script for `make bench AGENT=bench/agents/logferry.sh`, as an example
# for agents of any kind. It gets
#
#   LOGDIR     directory whose files *.log are to be shipped, from their beginning
#   TOPIC      topic to ship to; it exists
#   BROKERS    Kafka brokers, host:port, comma-separated
#   STATE_DIR  an empty directory for configuration and state
#
# and stays in the foreground until SIGTERM. What it and all its children cost
# is measured. Lines must arrive unchanged: set lz4, acks=all and "message
# only", or the numbers compare different work.
set -euo pipefail
exec "${LOGFERRY:-bin/logferry}" run --id bench --http 127.0.0.1:0 --state-dir "$STATE_DIR" \
  --path "$LOGDIR/*.log" --topic "$TOPIC" --brokers "$BROKERS" --partitioner sticky --acks all --compression lz4
