#!/usr/bin/env bash
# A shop's day, or its retraining: the stages in order. The first one that fails ends it, with its exit code.
#
#   conf/deploy/run.sh daily   conf/<shop>.yaml [DAY]   score everybody who is a member on DAY, judge what has matured
#   conf/deploy/run.sh retrain conf/<shop>.yaml [DAY]   train on the dates of the YAML; a model that passes the gate scores
#
# DAY is the last complete day, such as 2024-10-26; without it yesterday, in the zone of TZ. Any day can be run again.
# MEMBERLEVEL_PYTHON starts the jobs, .venv/bin/python by default; MEMBERLEVEL_SUBMIT, a spark-submit command with its
# options, instead (words are split at spaces). MEMBERLEVEL__… are settings of the shop, the pseudonym key among them.
set -euo pipefail
set -f # options have no patterns of file names
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if [ $# -lt 2 ]; then
  sed -n '2,9s/^# \{0,1\}//p' conf/deploy/run.sh >&2
  exit 2
fi
what=$1
config=$2
day=${3:-$(date -d yesterday +%F)}
# Of the whole run, however long it takes; they win over the YAML.
export MEMBERLEVEL__TIMELINE__DATA_THROUGH=$day MEMBERLEVEL__TIMELINE__SCORE="[$day]"

run() {
  local job=$1
  shift
  echo "$(date +%FT%T) $job $*" >&2
  if [ -n "${MEMBERLEVEL_SUBMIT:-}" ]; then
    # shellcheck disable=SC2086
    $MEMBERLEVEL_SUBMIT "jobs/$job.py" --config "$config" "$@"
  else
    "${MEMBERLEVEL_PYTHON:-.venv/bin/python}" -m "jobs.$job" --config "$config" "$@"
  fi
}

case $what in
daily)
  for job in bronze silver member_days levels outcomes; do run "$job"; done
  for job in features score advise monitor report; do run "$job" --as-of "$day"; done
  ;;
retrain)
  for job in bronze silver member_days levels outcomes; do run "$job"; done
  for job in features labels examples train evaluate register; do run "$job"; done
  for job in score advise monitor report; do run "$job" --as-of "$day"; done
  ;;
*)
  echo "error: neither daily nor retrain: $what. Name one of them." >&2
  exit 2
  ;;
esac
