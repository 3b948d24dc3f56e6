"""`aipool apply FILE`: an installation described in one YAML file, and made so.

nodes      the file as values that know their line; ${NAME} from the environment
fields     reading a mapping field by field, collecting every problem with its line
document   what may stand in the file, and what is wrong with it by itself
plan       making it so, in one transaction, or showing what would be done
lowering   which budgets it would lower, so that workers can give back first
credit     the credit a user starts with, and what may be changed by hand
"""
