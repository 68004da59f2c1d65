# An event listener of supervisord (its manual, "Event Listeners"), in shell for its size:
# ends supervisord, and so the container, when the orchestrator has failed for good.
while printf 'READY\n'; do
	IFS= read -r header || exit 0
	length=${header##*len:}
	payload=$(dd bs=1 count="${length%% *}" 2>/dev/null)
	case "$payload" in
	*processname:orchestrator\ *)
		echo "bootdrop: the orchestrator cannot stay up, the container ends" >&2
		kill -TERM "$PPID"
		;;
	esac
	printf 'RESULT 2\nOK'
done
