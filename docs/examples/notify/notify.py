"""
Tell people of a change: by mail, by a webhook (Slack, PagerDuty, Teams, ntfy), or both. A runner for /srv/salt/_runners.

.. code-block:: yaml

    notify:                                    # in /etc/salt/master.d/notify.conf, mode 0600
      mail: {server: 'mail.example.com', port: 25, sender: salt@example.com, to: [ops@example.com], starttls: true}
      webhook: https://hooks.slack.com/services/…
"""

import email.message
import json
import logging
import smtplib
import ssl
import urllib.request

log = logging.getLogger(__name__)

#: Seconds; the reactor's threads are few.
LIMIT = 10


def change(event):
    """
    Tell of a change, if it is the master's own word: any minion can send an event that looks the same. What notify.sls calls.

    event
        The event's data as JSON.
    """
    answer = __salt__["vmdk.genuine"](event)
    if "error" in answer:  # nobody can tell whose word it is, and that is worth a mail
        return _tell("the master", "NOT KNOWN", f"no change of a resource is told: {answer['error']}")
    if not answer["genuine"]:
        log.warning("notify: an event was passed over, for it is not the master's own word of now")
        return False
    said = json.loads(event)
    return _tell(said["resource"], "ok" if said["protected"] else said["state"].upper(), said["sentence"])


def test():
    """
    Send a word to try the ways with.

    CLI Example:

    .. code-block:: bash

        salt-run notify.test
    """
    return _tell("notify", "test", "this is a test, nothing has happened")


def _tell(what, mark, sentence):
    """Send it every way that ``notify`` in the master's configuration names; whether there is one and all of them took it."""
    asked = __opts__.get("notify") or {}
    done = bool(asked.get("mail") or asked.get("webhook"))
    if not done:
        log.error(
            "notify: %s is told to nobody: the master's configuration has neither notify:mail nor notify:webhook",
            what,
        )
    for way, send in (("mail", _mail), ("webhook", _post)):
        if asked.get(way):
            try:
                send(asked[way], f"[vmdk] {what}: {mark}", sentence)
            except Exception as err:  # whatever it is, the other way is tried too
                why = err if isinstance(err, OSError) else type(err).__name__  # other words may show the URL
                log.error("notify: no %s was sent for %s: %s", way, what, why)
                done = False
    return done


def _mail(asked, subject, sentence):
    message = email.message.EmailMessage()
    message["From"], message["To"] = asked["sender"], ", ".join(asked["to"])
    message["Subject"] = subject
    message.set_content(sentence)
    with smtplib.SMTP(asked["server"], asked.get("port", 25), timeout=LIMIT) as server:
        if asked.get("starttls", True):
            server.starttls(context=ssl.create_default_context())
        if asked.get("user"):
            server.login(asked["user"], asked["password"])
        server.send_message(message)


def _post(url, subject, sentence):
    body = json.dumps({"text": f"{subject} – {sentence}"}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=LIMIT):
        pass
